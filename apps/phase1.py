"""Collects expert demonstrations in the shop and trains the recurrent state model on them.

    uv run apps/phase1.py            # about two minutes on two cores
    uv run apps/phase1.py --smoke    # a small version

Prints how well the model predicts the type of the expert's next action on held-out episodes, beside two baselines:
a learned head that sees the last observation only, and always answering the most frequent type.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict

from learning import state_model
from reporting import PREDICTORS, next_action_figure, print_table
from rich.logging import RichHandler
from settings import SMOKE, Phase1Settings, parse_settings
from shopping import demonstrations, open_encoder, open_world

from sightline.agents.report import Section, Table, render_report
from sightline.agents.runs import RunDirectory, write_text


def main() -> None:
    """Run the experiment that the command line describes."""
    settings = parse_settings(Phase1Settings, SMOKE, sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    run = RunDirectory(
        settings.output / "phase1" / settings.name, settings.model_dump(mode="json", exclude={"config", "output"})
    )
    world = open_world(settings)
    encoder = open_encoder(settings, run)
    episodes = demonstrations(settings, run, world)
    _, history = state_model(settings, run, episodes["train"], encoder)

    best = max(history, key=lambda epoch: epoch.model_acc)
    table = Table(
        columns=("predictor of the next action's type", "accuracy, %"),
        rows=tuple((name, f"{100 * getattr(best, name):.1f}") for name in PREDICTORS),
        caption=f"On held-out episodes, at the best epoch ({best.epoch}).",
    )
    figure = next_action_figure(run, history)
    claim = (
        f"With memory {best.model_acc:.1%} of the expert's next actions are predicted by type, from the last "
        f"observation alone {best.baseline_last_obs_acc:.1%}, by the most frequent type "
        f"{best.majority_class_baseline:.1%}."
    )
    section = Section("Next-action training", tables=(table,), figures=(figure,))
    run.finish(
        {"next_action": [asdict(epoch) for epoch in history]}, catalogue_fingerprint=world.shop.catalogue.fingerprint
    )
    write_text(run.path / "report.html", render_report("Phase 1: the state model", claim, [section], str(run.path)))
    print_table(table)
    print(f"\n{claim}\n\nReport: {run.path / 'report.html'}")


if __name__ == "__main__":
    main()
