"""A text adventure, whose pages are prose and whose actions are commands, goes through everything with a grammar."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.agents import (
    LexicalActor,
    ReadingAgent,
    Step,
    Trajectory,
    baseline_rag,
    baseline_react,
    recurrent_state_gated,
    roll_out,
    summarise,
)
from sightline.agents.evaluation import failure_table, find_failures, recall_by_page, recall_by_step
from sightline.agents.grammar import TaskGrammar
from sightline.agents.reading import condition_dimension, oracle_gated, random_gated, retrieval_examples
from sightline.agents.rollout import InProcessEngine, RolloutJob, collect, run_job
from sightline.agents.state import NextActionResult, NextActionTrainingConfig, StateModelConfig, train_next_action
from sightline.agents.student import StudentDataConfig, student_examples
from sightline.retrieval import ChunkingConfig, HashingEncoder, StateConditionedRetriever

textworld = pytest.importorskip("textworld", reason="the text adventures of textworld need Linux and `textworld`")

# Its interpreter knows these games by no checksum and says so.
pytestmark = pytest.mark.filterwarnings("ignore:.*is not fully supported")

GAMES = 8
ENCODER = HashingEncoder(64)
CHUNKING = ChunkingConfig(min_characters=5)
KINDS = {"go": "move", "examine": "look", "look": "look", "inventory": "look", "take": "take", "drop": "drop"}


def command_type(command: str) -> str:
    verb, _, _ = command.partition(" ")
    if not verb.islower():
        raise ValueError(f"{command!r} is no command")
    return KINDS.get(verb, "handle")


def listed_commands(instruction: str, available: Sequence[str]) -> tuple[str, ...]:
    return tuple(available)


def chunks_with_the_thing(command: str, chunks: Sequence[str]) -> tuple[int, ...]:
    """A command acts on the thing, or the direction, that it names first."""
    thing = re.split(r" (?:with|on|into|from) ", command.partition(" ")[2])[0].lower()
    return tuple(index for index, chunk in enumerate(chunks) if thing and thing in chunk.lower())


def goal_without_welcome(instruction: str) -> str:
    _, _, rest = re.sub(r"([.!?]) ", r"\1\n", instruction, count=1).partition("\n")
    return " ".join(rest.split())


def sentences(page: str, chunking: ChunkingConfig) -> tuple[str, ...]:
    found = (" ".join(one.split()) for one in re.split(r"(?<=[.!?])\s+|\n+", page))
    return tuple(one[: chunking.max_characters] for one in found if len(one) >= chunking.min_characters)


def exits(commands: Sequence[str]) -> str:
    ways = sum(command.startswith("go ") for command in commands)
    return "dead end" if ways < 2 else "crossing"


def how_it_was_lost(steps: Sequence[Step]) -> str:
    moved = any(command_type(step.action) == "move" for step in steps)
    return "wandered about" if moved else "never left the first room"


adventure_grammar = TaskGrammar(
    name="adventure",
    role="You play a text adventure.",
    action_types=("move", "look", "take", "drop", "handle"),
    action_type=command_type,
    candidate_actions=listed_commands,
    target_chunks=chunks_with_the_thing,
    task_text=goal_without_welcome,
    cut_page=sentences,
    page_kinds=("dead end", "crossing"),
    page_kind=exits,
    endings=("never left the first room", "wandered about"),
    ending=how_it_was_lost,
)


@dataclass
class Adventure:
    """Plays the games of a folder; goal g is game g."""

    folder: Path
    state: Any = None
    game: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        assert options is not None
        self.close()
        wanted = ("admissible_commands", "description", "inventory", "won", "lost", "policy_commands", "objective")
        infos = textworld.EnvInfos(**dict.fromkeys(wanted, True))
        self.game = textworld.start(str(self.folder / f"{options['goal']}.z8"), infos)
        self.state = self.game.reset()
        return self._page()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.state, _, _ = self.game.step(action)
        page, info = self._page()
        return page, float(self.state.won), self.state.won or self.state.lost, False, info

    def close(self) -> None:
        if self.game is not None:
            self.game.close()

    def _page(self) -> tuple[str, dict[str, Any]]:
        info = {"instruction_text": self.state.objective, "available_actions": self.state.admissible_commands}
        return f"{self.state.description.strip()}\n\n{self.state.inventory.strip()}", info


def solver(adventure: Adventure) -> str:
    return adventure.state.policy_commands[0]


def make_adventures(count: int, folder: Path) -> list[Adventure]:
    return [Adventure(folder) for _ in range(count)]


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from textworld.generator import compile_game, make_game

    folder = tmp_path_factory.mktemp("games")
    for seed in range(GAMES):
        options = textworld.GameOptions()
        options.seeds, options.path = seed, str(folder / f"{seed}.z8")
        options.nb_rooms, options.nb_objects, options.quest_length = 3, 6, 3
        compile_game(make_game(options), options)
    return folder


@pytest.fixture(scope="module")
def demonstrations(games: Path) -> list[Trajectory]:
    return collect(
        Adventure(games), range(GAMES), solver, adventure_grammar, seed=0, max_steps=12, exploration=0.3, progress=False
    )


@pytest.fixture(scope="module")
def learnt(demonstrations: list[Trajectory]) -> NextActionResult:
    shape = StateModelConfig(text_dimension=64, event_dimension=16, state_dimension=12)
    config = NextActionTrainingConfig(epochs=3, validation_fraction=0.25)
    return train_next_action(demonstrations, ENCODER, adventure_grammar, shape, config)


@pytest.fixture(scope="module")
def agents(learnt: NextActionResult) -> list[ReadingAgent]:
    actor = LexicalActor(adventure_grammar)
    chunked: dict[str, Any] = {"top_k": 2, "chunking": CHUNKING}
    retriever = StateConditionedRetriever(condition_dimension("both", 12, 64), 64)
    return [
        baseline_react(actor, adventure_grammar, history_turns=1, history_characters=80),
        baseline_rag(actor, ENCODER, adventure_grammar, **chunked),
        recurrent_state_gated(
            actor,
            ENCODER,
            learnt.model,
            retriever,
            adventure_grammar,
            name="recurrent_state_gated_zero_shot",
            query_from="both",
            **chunked,
        ),
        oracle_gated(actor, ENCODER, adventure_grammar, **chunked),
        random_gated(actor, adventure_grammar, seed=0, **chunked),
    ]


@pytest.fixture(scope="module")
def episodes(games: Path, agents: list[ReadingAgent]) -> dict[str, list[Trajectory]]:
    adventures = make_adventures(4, games)
    return {
        agent.name: roll_out(
            adventures, agent, range(GAMES), adventure_grammar, seed=0, max_steps=8, expert=solver, progress=False
        )
        for agent in agents
    }


def test_the_solver_wins_and_its_commands_are_kept_beside_the_explored_ones(demonstrations: list[Trajectory]) -> None:
    assert [trajectory.error for trajectory in demonstrations] == [None] * GAMES
    assert np.mean([trajectory.success for trajectory in demonstrations]) > 0.8
    steps = [step for trajectory in demonstrations for step in trajectory.steps]
    assert 0.1 < np.mean([step.action != step.expert_action for step in steps]) < 0.5


def test_the_state_model_learns_the_grammars_types(learnt: NextActionResult) -> None:
    assert learnt.model.config.action_types == adventure_grammar.action_types
    assert learnt.model.action_head.out_features == 5
    assert 0 <= learnt.best.model_acc <= 1


def test_examples_mark_the_sentences_with_the_thing_that_is_acted_on(demonstrations: list[Trajectory]) -> None:
    examples = retrieval_examples(demonstrations, adventure_grammar, CHUNKING)
    assert len(examples) > GAMES
    for example in examples:
        assert example.pos_idx == chunks_with_the_thing(example.action, example.chunks)
        assert all(len(sentences(chunk, CHUNKING)) == 1 for chunk in example.chunks)


def test_a_students_prompts_show_the_task_without_its_welcome(demonstrations: list[Trajectory]) -> None:
    pairs = [pair for trajectory in demonstrations for pair in trajectory.situations()]
    found = student_examples(pairs, adventure_grammar, StudentDataConfig(views=1), np.random.default_rng(0))
    assert len(found) == len(pairs)
    for example, (situation, action) in zip(found, pairs, strict=True):
        assert example.prompt.startswith(f"task: {goal_without_welcome(situation.instruction)}\n")
        assert "TextWorld" not in example.prompt.partition("\n")[0]
        assert example.actions[example.chosen] == action


def test_every_agent_plays_every_game_without_an_error(episodes: dict[str, list[Trajectory]]) -> None:
    assert {one.error for of_agent in episodes.values() for one in of_agent} == {None}
    summaries = summarise({name: [of_agent] for name, of_agent in episodes.items()}, seed=0)
    for summary in summaries:
        assert summary.success_rate is not None
        expected = np.mean([one.success for one in episodes[summary.agent]])
        assert summary.success_rate.value == pytest.approx(expected)


def test_the_oracle_read_what_was_needed_and_pages_are_told_apart(episodes: dict[str, list[Trajectory]]) -> None:
    steps = recall_by_step([episodes["oracle_gated"]], adventure_grammar, CHUNKING, seed=0)
    assert steps
    assert all(found.interval is None or found.interval.value == 1 for found in steps.values())
    pages = recall_by_page([episodes["random_gated"]], adventure_grammar, CHUNKING, seed=0)
    assert list(pages) == ["dead end", "crossing"]
    whole = recall_by_step([episodes["random_gated"]], adventure_grammar, CHUNKING, seed=0)
    assert sum(one.decisions for one in pages.values()) == sum(one.decisions for one in whole.values())


def test_failures_end_as_the_grammar_says(episodes: dict[str, list[Trajectory]]) -> None:
    failed = [one for one in episodes["random_gated"] if not one.success]
    failures = find_failures(episodes["random_gated"], adventure_grammar, CHUNKING)
    assert [failure.trajectory for failure in failures] == failed
    assert [failure.ending for failure in failures] == [how_it_was_lost(one.steps) for one in failed]
    table = failure_table([episodes["random_gated"]], failures, adventure_grammar, seed=0)
    assert [row[0] for row in table.rows] == [*adventure_grammar.endings, "all failures"]
    assert sum(int(row[1]) for row in table.rows[:-1]) == int(table.rows[-1][1]) == len(failed)


def test_a_job_of_another_grammar_plays_as_roll_out_does(
    games: Path, agents: list[ReadingAgent], episodes: dict[str, list[Trajectory]]
) -> None:
    react = agents[0]
    job = RolloutJob(
        agent_name=react.name,
        make_environments=lambda count: make_adventures(count, games),
        make_agent=lambda: react,
        grammar=adventure_grammar,
        seed=0,
        max_steps=8,
        expert=solver,
        batch_size=4,
    )
    assert run_job(job, range(GAMES), engine=InProcessEngine(), progress=False) == episodes[react.name]
