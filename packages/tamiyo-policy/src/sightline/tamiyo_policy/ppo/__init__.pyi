from .advantages import generalised_advantages as generalised_advantages
from .buffer import RolloutStep as RolloutStep
from .buffer import Sequences as Sequences
from .normalisation import ObservationNormaliser as ObservationNormaliser
from .normalisation import RewardScaler as RewardScaler
from .normalisation import ValueNormaliser as ValueNormaliser
from .ppo import StaleRolloutError as StaleRolloutError
from .rollouts import RolloutCollector as RolloutCollector
