from .memory_tasks import CuedGrowth as CuedGrowth
from .memory_tasks import MaskedCartPole as MaskedCartPole
from .memory_tasks import MemoryTask as MemoryTask
from .memory_tasks import RepeatPrevious as RepeatPrevious
from .memory_tasks import TMaze as TMaze
