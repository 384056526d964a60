from .growing import RivalName as RivalName
from .training import Rival as Rival
from .training import train_rivals as train_rivals
