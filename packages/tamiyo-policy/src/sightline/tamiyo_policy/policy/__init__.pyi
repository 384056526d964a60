from .outputs import ActionOutput as ActionOutput
from .outputs import EvaluationOutput as EvaluationOutput
from .outputs import ForwardOutput as ForwardOutput
