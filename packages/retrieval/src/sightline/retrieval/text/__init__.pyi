from .unit_vectors import UnitVectors as UnitVectors
