"""Collects expert demonstrations in the shop and trains the recurrent state model on them.

    uv run apps/phase1.py            # about two minutes on two cores; resumes if stopped
    uv run apps/phase1.py --smoke    # a small version

Prints how well the model predicts the type of the expert's next action on held-out episodes, beside two baselines:
a learned head that sees the last observation only, and always answering the most frequent type.
"""

from __future__ import annotations

from dataclasses import asdict

from experiments.shopping.settings import Phase1Settings
from experiments.shopping.stages import MAKING
from lab.main import conclude, start
from lab.report import Report


def main() -> None:
    """Run the experiment that the command line describes."""
    settings, run = start("phase1", Phase1Settings, __doc__, making=MAKING)

    # These load PyTorch, which neither `--help` nor a wrong flag shall wait for.
    from experiments.shopping.learning import train_state_model_stage
    from experiments.shopping.report import next_action_section
    from experiments.shopping.world import collect_demonstrations_stage, open_world
    from lab.encoder import open_encoder
    from lab.engine import open_engine

    world = open_world(settings)
    encoder = open_encoder(settings, run)
    with open_engine(settings) as engine:
        episodes = collect_demonstrations_stage(settings, run, world, engine)
    _, history = train_state_model_stage(settings, run, episodes["train"], encoder)

    best = max(history, key=lambda epoch: epoch.model_acc)
    claim = (
        f"With memory {best.model_acc:.1%} of the expert's next actions are predicted by type, from the last "
        f"observation alone {best.baseline_last_obs_acc:.1%}, by the most frequent type "
        f"{best.majority_class_baseline:.1%}."
    )
    section = next_action_section(run.path / "plots", history)
    conclude(
        run,
        {"next_action": [asdict(epoch) for epoch in history]},
        Report("Phase 1: the state model", [claim], section.tables, [section]),
        shown=section.tables,
        catalogue_fingerprint=world.shop.catalogue.fingerprint,
    )


if __name__ == "__main__":
    main()
