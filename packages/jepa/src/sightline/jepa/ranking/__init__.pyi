from .evaluation import Method as Method
from .metrics import QueryMetrics as QueryMetrics
