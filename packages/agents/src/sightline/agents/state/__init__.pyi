from .config import NextActionTrainingConfig as NextActionTrainingConfig
from .config import StateModelConfig as StateModelConfig
from .model import EventBatch as EventBatch
from .model import RecurrentStateModel as RecurrentStateModel
from .records import NextActionMetrics as NextActionMetrics
from .records import NextActionResult as NextActionResult
from .training import train_next_action as train_next_action
