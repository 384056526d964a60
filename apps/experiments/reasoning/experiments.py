"""The experiments by name, in the order of the report; each makes a chapter of it."""

from __future__ import annotations

from collections.abc import Callable

from experiments.reasoning.boards.positions import solve_stage
from experiments.reasoning.boards.rates import network_rates, search_rates
from experiments.reasoning.boards.report import search_chapter, selfplay_chapter
from experiments.reasoning.boards.training import match_stage, rating_stage, train_stage
from experiments.reasoning.chapters import Chapter
from experiments.reasoning.hybrid.methods import hybrid_stage
from experiments.reasoning.hybrid.report import hybrid_chapter
from experiments.reasoning.players.learning import HRM_PLAYER, TRM_PLAYER, player_stage
from experiments.reasoning.players.report import players_chapter
from experiments.reasoning.puzzles.ablations import ablate_stage, easy_rates
from experiments.reasoning.puzzles.ablations_report import ablations_chapter
from experiments.reasoning.puzzles.comparison import HRM_NAME, TRM_NAME, compare_stage, puzzle_stage
from experiments.reasoning.puzzles.comparison_report import model_folder, puzzles_chapter
from experiments.reasoning.settings import Experiment, ReasoningSettings, Stage
from experiments.reasoning.shop.findings import choose, mean_steps
from experiments.reasoning.shop.learning import rewards_stage
from experiments.reasoning.shop.report import shop_chapter, teaching_chapter
from experiments.reasoning.shop.teaching import teach_stage
from experiments.reasoning.shop.trials import choose_stage, trials_stage
from lab.jobs import Workers
from lab.run import RunDirectory

RunFn = Callable[[ReasoningSettings, RunDirectory, Workers], list[Chapter]]


def run_experiments(settings: ReasoningSettings, run: RunDirectory, workers: Workers) -> list[Chapter]:
    """Run the experiments that the settings name and return their chapters."""
    experiments: dict[Experiment, RunFn] = {
        "puzzles": run_puzzles,
        "ablations": run_ablations,
        "hybrid": run_hybrid,
        "search": run_search,
        "selfplay": run_selfplay,
        "shop": run_shop,
        "teaching": run_teaching,
    }
    return [
        chapter
        for name, make in experiments.items()
        if name in settings.only
        for chapter in make(settings, run, workers)
    ]


def run_puzzles(settings: ReasoningSettings, run: RunDirectory, workers: Workers) -> list[Chapter]:
    """E1: TRM, HRM and plain networks, test-time steps, halting, nearly complete puzzles."""
    puzzles = puzzle_stage(settings, run, workers)
    results = compare_stage(settings, run, workers, puzzles)
    part = settings.puzzles
    easy = {}
    for name in (TRM_NAME, HRM_NAME):
        result = next(r for r in results if (r.method, r.task, r.seed) == (name, part.task, part.seeds[0]))
        model = model_folder(run.stage_folder(Stage.COMPARE), result)
        easy[name] = easy_rates(model, puzzles / f"{part.task}.safetensors", part.trainer.segments, settings.seed)
    return [puzzles_chapter(settings, run, results, easy)]


def run_ablations(settings: ReasoningSettings, run: RunDirectory, workers: Workers) -> list[Chapter]:
    """E2: TRM with one part left out."""
    puzzles = puzzle_stage(settings, run, workers)
    return [ablations_chapter(settings, run, ablate_stage(settings, run, workers, puzzles))]


def run_hybrid(settings: ReasoningSettings, run: RunDirectory, workers: Workers) -> list[Chapter]:
    """E3: TRM with search, with the models of E1."""
    puzzles = puzzle_stage(settings, run, workers)
    results = compare_stage(settings, run, workers, puzzles)
    part = settings.puzzles
    task = next((task for task in part.harder if task.startswith("sudoku")), part.task)
    result = next(r for r in results if (r.method, r.task) == (TRM_NAME, task))
    found = hybrid_stage(
        settings.hybrid,
        run,
        workers,
        puzzles / f"{task}.safetensors",
        model_folder(run.stage_folder(Stage.COMPARE), result),
        part.trainer.segments,
    )
    return [hybrid_chapter(run, task, found, settings.seed)]


def run_search(settings: ReasoningSettings, run: RunDirectory, workers: Workers) -> list[Chapter]:
    """E4: searches without a network against exact truth."""
    positions = solve_stage(settings.boards, run, workers)
    return [search_chapter(settings.boards, run, search_rates(settings.boards, run, workers, positions))]


def run_selfplay(settings: ReasoningSettings, run: RunDirectory, workers: Workers) -> list[Chapter]:
    """E5: networks that learn Connect Four from their own games; TRM and HRM against the convolutional one."""
    chapters = []
    if "conv" in settings.network:
        boards = settings.boards
        positions = solve_stage(boards, run, workers)
        networks, snapshots = train_stage(boards, run, workers)
        rates = network_rates(boards, run, workers, positions, networks)
        matches = match_stage(boards, run, workers, networks)
        ratings = rating_stage(boards, run, workers, networks)
        chapters.append(selfplay_chapter(boards, snapshots, rates, matches, ratings))
    names = {"trm": TRM_PLAYER, "hrm": HRM_PLAYER}
    chosen = [names[network] for network in settings.network if network in names]
    if chosen:
        chapters.append(players_chapter(settings.players, player_stage(settings.players, chosen, run, workers)))
    return chapters


def run_shop(settings: ReasoningSettings, run: RunDirectory, workers: Workers) -> list[Chapter]:
    """E6: planning in the shop by the oracle and honestly."""
    shop = settings.shop
    models, learnt = rewards_stage(shop, run, workers)
    dev = choose_stage(shop, run, workers, models)
    choice = choose(shop, dev)
    trials = trials_stage(shop, run, workers, models, choice.pessimism, mean_steps(dev, choice.pessimism))
    return [shop_chapter(shop, run, learnt, choice, trials)]


def run_teaching(settings: ReasoningSettings, run: RunDirectory, workers: Workers) -> list[Chapter]:
    """E6, its second half: the packaged student learns from plans, and shops before and after."""
    return [teaching_chapter(settings.shop, *teach_stage(settings.shop, run, workers))]
