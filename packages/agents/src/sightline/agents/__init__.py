"""Web agents that choose what to read: trajectories, actors, a state model, retrieval-gated agents, evaluation.

An agent such as `baseline_rag` turns a `Situation` into a `Decision`; `roll_out` lets it act in an environment, and
`summarise` and `compare` say how well it did. Names are imported on first use, so that nothing here loads PyTorch
before it is needed.
"""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
