from .bundle import ActionResult as ActionResult
from .bundle import EvaluationResult as EvaluationResult
from .bundle import ForwardResult as ForwardResult
