"""Every file on disk is read, and written, as it has always been; each has one golden copy."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, JsonValue, ValidationError

from sightline.agents.chat import AnswerCache, ChatConfig, LedgerRow, TokenLedger, TokenPrices
from sightline.agents.chat.cache import ChatAnswer
from sightline.agents.records import ActionDistribution, Attention, Consultation, Decision, Event, Situation
from sightline.agents.rollout import EpisodeInProgress
from sightline.agents.rollout.journal import JournalHeader, RolloutJournal
from sightline.agents.state import NextActionTrainingConfig, RecurrentStateModel, StateModelConfig
from sightline.agents.student import StudentDataConfig, StudentReport, StudentTrainingConfig
from sightline.agents.trajectory import Step, Trajectory, read_trajectories, write_trajectories
from sightline.retrieval.jsonl import RecordError, parse_record

GOLDEN = Path(__file__).parent / "data" / "golden"

STEP = Step(
    observation="a page\nin two lines",
    available_actions=("open é", "leave"),
    action="leave",
    expert_action="open é",
    reward=0.25,
    probabilities=(0.125, 0.875),
    attention=(Attention("in two lines", -0.5, selected=True),),
    prompt_tokens=7,
    completion_tokens=2,
    snapshot="c3RhdGU=",
)
TRAJECTORY = Trajectory(
    episode_id="one",
    goal=3,
    agent="any",
    seed=5,
    instruction="find é",
    steps=(STEP, Step(observation="", available_actions=("leave",), action="leave", reward=1.0)),
    final_observation="the end",
    total_reward=1.25,
    terminated=True,
    truncated=False,
)
BROKEN = TRAJECTORY.model_copy(update={"episode_id": "two", "goal": 4, "steps": (), "error": "OSError: no connection"})
EPISODE = EpisodeInProgress(
    agent="any",
    goal=3,
    seed=5,
    max_steps=9,
    instruction="find é",
    steps=(STEP,),
    observation="another page",
    actions=("leave",),
    expert_action=None,
    snapshot=b"c3RhdGU=",
)
HEADER = JournalHeader(agent="any", seed=5, max_steps=9, batch_size=2, expert=True, goals=(3, 4, 7))
REQUEST: dict[str, JsonValue] = {
    "base_url": "http://localhost/v1",
    "model": "tiny",
    "messages": [{"content": "é"}],
    "temperature": 0.0,
}
ANSWER = ChatAnswer(text='{"action": 1}', finish_reason="stop", prompt_tokens=7, completion_tokens=5, cached_tokens=2)
ROW = LedgerRow(
    time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    request="0" * 64,
    model="tiny",
    prompt_tokens=7,
    completion_tokens=5,
    cached_tokens=2,
    cost=0.5,
    latency=1.5,
    attempts=2,
)
FAILED = LedgerRow(time=ROW.time, request="f" * 64, model="tiny", latency=60.0, attempts=6, error="TimeoutError: none")
STATE_MODEL = StateModelConfig(
    text_dimension=3,
    text_encoder="hashing-3",
    event_dimension=2,
    state_dimension=2,
    max_characters=7,
    action_types=("look", "go"),
)
REPORT = StudentReport(
    parameters=10, examples=3, longest=9, steps=2, tokens=40, precision="float32", losses=(1.5, 0.25)
)


def make_state_model() -> RecurrentStateModel:
    """A model whose weights count on in eighths."""
    model = RecurrentStateModel(STATE_MODEL)
    place = 0
    with torch.no_grad():
        for parameter in model.parameters():
            numbers = torch.arange(place, place + parameter.numel(), dtype=torch.float32)
            parameter.copy_(numbers.reshape(parameter.shape) / 8)
            place += parameter.numel()
    return model.eval()


def write_all(folder: Path) -> None:
    """Write one file of every kind; the golden files are what this once wrote."""
    write_trajectories(folder / "trajectories.jsonl", [TRAJECTORY, BROKEN])
    EPISODE.write(folder / "episode.json")
    RolloutJournal(folder / "journal.jsonl", HEADER).append(0, [TRAJECTORY, BROKEN])
    AnswerCache(folder / "answers").keep(REQUEST, ANSWER)
    ledger = TokenLedger(folder / "ledger.jsonl")
    for row in (ROW, FAILED):
        ledger.append(row)
    make_state_model().save_pretrained(folder / "state_model")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_is_written_as_it_has_always_been(tmp_path: Path) -> None:
    write_all(tmp_path)
    written, golden = files_of(tmp_path), files_of(GOLDEN)
    assert written.keys() == golden.keys()
    assert [name for name in golden if written[name] != golden[name]] == []


def test_what_an_earlier_version_wrote_is_read(tmp_path: Path) -> None:
    older = GOLDEN.parent
    for trajectories in (GOLDEN / "trajectories.jsonl", *older.glob("trajectories-without-*.jsonl")):
        assert list(read_trajectories(trajectories)) == [TRAJECTORY, BROKEN]
    for episode in (GOLDEN / "episode.json", *older.glob("episode-without-*.json")):
        assert EpisodeInProgress.read(episode) == EPISODE
    journals = (GOLDEN / "journal.jsonl", *older.glob("journal-without-*.jsonl"))
    assert len(journals) == 4
    for number, journal in enumerate(journals):
        (tmp_path / f"{number}.jsonl").write_bytes(journal.read_bytes())
        assert RolloutJournal(tmp_path / f"{number}.jsonl", HEADER).batches == {0: (TRAJECTORY, BROKEN)}
    assert AnswerCache(GOLDEN / "answers").get(REQUEST) == ANSWER
    assert list(TokenLedger(GOLDEN / "ledger.jsonl").rows()) == [ROW, FAILED]
    found, expected = RecurrentStateModel.from_pretrained(GOLDEN / "state_model"), make_state_model()
    assert found.config == STATE_MODEL
    events = torch.linspace(-1, 1, 12).reshape(1, 4, 3), torch.tensor([[0, 1, 0, 1]]), torch.tensor([4])
    for one, other in zip(vars(found(*events)).values(), vars(expected(*events)).values(), strict=True):
        assert torch.equal(one, other)


def test_a_state_models_weights_are_little_endian_float32_under_their_names() -> None:
    content = (GOLDEN / "state_model" / "model.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + size])
    start, stop = entries["action_head.weight"]["data_offsets"]
    numbers = np.frombuffer(content[8 + size :][start:stop], dtype="<f4")
    assert entries["action_head.weight"]["shape"] == [2, 2]
    assert (np.diff(numbers) == 0.125).all()


RECORDS: list[BaseModel] = [
    STEP,
    STEP.model_copy(update={"consultation": Consultation(("a",), ("a guide",), "local", stale=True)}),
    TRAJECTORY,
    EPISODE,
    HEADER,
    ANSWER,
    ROW,
    STATE_MODEL,
    REPORT,
    NextActionTrainingConfig(),
    StudentDataConfig(),
    StudentTrainingConfig(),
    ChatConfig(model="tiny"),
    TokenPrices(prompt=1, completion=2),
]
NUMBERS = [
    (STEP, "reward"),
    (TRAJECTORY, "total_reward"),
    (ROW, "cost"),
    (ROW, "latency"),
    (REPORT, "losses"),
    (ChatConfig(model="tiny"), "timeout"),
    (ChatConfig(model="tiny"), "temperature"),
    (TokenPrices(prompt=1, completion=2), "prompt"),
    (NextActionTrainingConfig(), "learning_rate"),
    (StudentTrainingConfig(), "learning_rate"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_does_not_change_and_knows_no_other_fields(record: BaseModel) -> None:
    name = next(iter(type(record).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, name, getattr(record, name))
    content = json.loads(record.model_dump_json())
    assert type(record).model_validate_json(json.dumps(content)) == record
    with pytest.raises(RecordError, match="'colour'"):
        parse_record(type(record), json.dumps(content | {"colour": "red"}).encode(), where="here")


@pytest.mark.parametrize(("record", "field"), NUMBERS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_no_record(record: BaseModel, field: str, number: float) -> None:
    value: Any = (number,) if isinstance(getattr(record, field), tuple) else number
    with pytest.raises(ValidationError, match=field):
        type(record).model_validate(record.model_dump() | {field: value})


@pytest.mark.parametrize("place", ["steps", "attention", "probabilities"])
def test_a_journal_takes_no_numbers_that_are_none(tmp_path: Path, place: str) -> None:
    step: dict[str, Any] = {
        "steps": {"reward": float("nan")},
        "attention": {"attention": [{"text": "a", "score": float("nan"), "selected": True}]},
        "probabilities": {"probabilities": [float("nan"), 1.0]},
    }[place]
    batch = json.loads((GOLDEN / "journal.jsonl").read_text("utf-8").splitlines()[1])
    batch["episodes"][0]["steps"][0] |= step
    path = tmp_path / "journal.jsonl"
    path.write_text(f"{HEADER.model_dump_json()}\n{json.dumps(batch)}\n", encoding="utf-8")
    with pytest.raises(RecordError, match="line 2"):
        RolloutJournal(path, HEADER)


@pytest.mark.parametrize(
    "record",
    [
        Event("OBS", "a"),
        Situation("a", (Event("OBS", "a"),), ("b",)),
        Attention("a", 1.0, selected=True),
        Decision("a", (1.0,), 1, 1),
        ActionDistribution((1.0,), 1, 1),
    ],
    ids=lambda record: type(record).__name__,
)
def test_what_passes_between_parts_does_not_change(record: Any) -> None:
    name = fields(record)[0].name
    with pytest.raises(FrozenInstanceError, match=name):
        setattr(record, name, getattr(record, name))
