from .goals import GoalKind as GoalKind
from .goals import GoalSet as GoalSet
from .goals import draw_goal as draw_goal
from .goals import draw_prices as draw_prices
from .goals import filter_goals as filter_goals
from .goals import limit_goals as limit_goals
