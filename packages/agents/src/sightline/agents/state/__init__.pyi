from .model import EventBatch as EventBatch
from .model import RecurrentStateModel as RecurrentStateModel
from .model import StateModelConfig as StateModelConfig
from .training import NextActionConfig as NextActionConfig
from .training import NextActionMetrics as NextActionMetrics
from .training import NextActionResult as NextActionResult
from .training import train_next_action as train_next_action
