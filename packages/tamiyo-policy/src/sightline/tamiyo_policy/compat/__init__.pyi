from .bundle import ActionResult as ActionResult
from .bundle import EvaluationResult as EvaluationResult
