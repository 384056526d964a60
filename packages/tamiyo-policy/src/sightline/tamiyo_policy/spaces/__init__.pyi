from .actions import ActionCodec as ActionCodec
from .masks import MaskReader as MaskReader
from .observations import ObservationEncoder as ObservationEncoder
