from .env import ObservationMode as ObservationMode
from .env import PageText as PageText
from .workers import WorkerError as WorkerError
