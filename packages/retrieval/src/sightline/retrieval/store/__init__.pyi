from .filters import MetadataFilter as MetadataFilter
from .filters import parse_filter as parse_filter
from .nearest.search import IndexReport as IndexReport
from .repair import RepairReport as RepairReport
from .verification import Damage as Damage
