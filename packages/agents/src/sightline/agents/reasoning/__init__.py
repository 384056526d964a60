"""Small recursive reasoners (TRM, HRM): puzzles with exact solvers, models, one trainer for all of them.

`Trainer(TRM(TRMConfig.for_task(task)), task, TrainerConfig(minutes=5)).fit()` trains; `model.solve(puzzles)` answers.
"""

from sightline.retrieval.front_door import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
