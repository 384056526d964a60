from .config import NetworkConfig as NetworkConfig
from .images import ImageEncoder as ImageEncoder
from .records import ActionOutput as ActionOutput
from .records import EvaluationOutput as EvaluationOutput
from .records import ForwardOutput as ForwardOutput
from .records import InputShape as InputShape
from .records import PolicyInput as PolicyInput
