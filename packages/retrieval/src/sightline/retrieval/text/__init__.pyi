from .unit_vectors import UnitVectors as UnitVectors
from .words import StemmedWords as StemmedWords
from .words import Tokenizer as Tokenizer
from .words import words as words
