"""Predict the embedding of the right source from a question and a steering signal, and explain the prediction.

Start with `SteeringDataset` (or `build_dataset`), a `JEPAConfig` and `Trainer`; go on to `Explainer`. Names are
imported on first use, so that looking at a data set does not load PyTorch.
"""

from sightline.jepa.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
