from .actions import ACTION_TYPES as ACTION_TYPES
from .actions import ActionType as ActionType
from .actions import action_type as action_type
from .actions import candidate_actions as candidate_actions
from .actions import propose_queries as propose_queries
