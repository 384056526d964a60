from .reading import OwnData as OwnData
from .reading import read_own_data as read_own_data
from .records import OwnDataError as OwnDataError
from .records import OwnPair as OwnPair
from .records import read_pairs as read_pairs
