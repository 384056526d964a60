from .model import ModelError as ModelError
from .projection import SharedProjection as SharedProjection
from .routed_predictor import Decomposition as Decomposition
from .scorer import FilterAwareScorer as FilterAwareScorer
from .scorer import FilteredQuery as FilteredQuery
from .target import EMAEncoder as EMAEncoder
from .target import FrozenTarget as FrozenTarget
