"""What is measured at a snapshot: uncertainty, leverage, in-context teaching, quadrant, depth."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
