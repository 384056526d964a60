"""The published trajectories of people in the original shop, read as recordings.

A file holds one episode, a line for each page that was visited: its kind, address, the goal, what the page showed, and
at the end the reward with its parts. What was clicked is not in the file; it follows from each page and the next one.
Everything that a file says twice is compared, and where the catalogue is at hand the episode is played again.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.webshop_env.episodes.recording import RecordedStep, Recording, RecordingError
from sightline.webshop_env.product import Goal
from sightline.webshop_env.rules import pages
from sightline.webshop_env.rules.reward import SIMILAR_TITLE, matched_options, type_factor

MAX_VISITS: Final = 10_000
MAX_LINE_BYTES: Final = 1 << 20
AGENT: Final = "human"

_TOLERANCE: Final = 1e-9
_SHOWN: Final = 80
_LIMIT: Final = re.compile(r"price lower than (\d+\.\d\d) dollars")
_RECORD: Final = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

PageName = Literal["index", "search_results", "item_page", "item_sub_page", "done"]


class _GoalRecord(BaseModel):
    model_config = _RECORD

    asin: str
    category: str
    query: str
    name: str
    product_category: str
    instruction_text: str
    attributes: tuple[str, ...]
    price_upper: float
    goal_options: tuple[str, ...] | dict[str, str]
    weight: float


class _Content(BaseModel):
    model_config = _RECORD

    keywords: tuple[str, ...] | str | None = None
    search_result_asins: tuple[str, ...] | None = None
    page: int | None = None
    asin: str | None = None
    options: dict[str, str] = Field(default_factory=dict)
    price: float | None = None


class _Line(BaseModel):
    model_config = _RECORD

    page: PageName
    url: Annotated[str, Field(max_length=1 << 16)]
    goal: _GoalRecord
    content: _Content | None = None
    reward: float | None = None
    reward_info: dict[str, float | bool] | None = None


class Visit(NamedTuple):
    """One page that was visited."""

    page: PageName
    """Kind of page."""
    words: tuple[str, ...] = ()
    """Words searched for, () where none were yet."""
    number: int = 1
    """Number of the results page, from 1."""
    shown: tuple[str, ...] = ()
    """Asins that a results page lists."""
    asin: str | None = None
    """Product that is shown or was bought."""
    options: Mapping[str, str] = {}
    """Chosen values by group."""
    sub_page: str | None = None
    """Name of the page below a product's page, such as "Description"."""
    price: float | None = None
    """What was paid, in dollars."""


@dataclass(frozen=True)
class HumanTrajectory:
    """One person's episode."""

    name: str
    """The session's name, from the addresses."""
    goal: Goal
    """What was asked for."""
    visits: tuple[Visit, ...]
    """Pages in the order in which they were visited."""
    actions: tuple[str | None, ...]
    """What was done on each page but the last, as the shop takes it; None where the page was only loaded again, or no
    single action leads to the next page."""
    reward: float | None
    """What the purchase earned, from 0 to 1; None without one."""
    reward_info: Mapping[str, float | bool]
    """Parts of the reward, as the file has them."""
    faults: tuple[str, ...]
    """What the file says in two ways that do not agree, in words; empty for a sound one."""

    def as_recording(self) -> Recording:
        """Return the episode as agents' recordings are, from what the file alone says.

        Its goal is -1, since no shop has numbered it, and its observations hold what is known of each page: the
        instruction, the products listed, the options chosen. With the catalogue `replay_human` gives the whole pages.
        """
        steps = []
        for visit, action in zip(self.visits, self.actions, strict=False):
            if action is not None:
                known = _known_actions(visit)
                offered = known if action in known else (*known, action)
                text = _known_page(self.goal, visit)
                steps.append(RecordedStep(observation=text, available_actions=offered, action=action, reward=0.0))
        total = self.reward or 0.0
        if steps and self.reward is not None:
            steps[-1] = steps[-1].model_copy(update={"reward": total})
        return Recording(
            episode_id=self.name,
            goal=-1,
            agent=AGENT,
            seed=0,
            instruction=self.goal.instruction_text,
            steps=tuple(steps),
            final_observation=_known_page(self.goal, self.visits[-1]),
            total_reward=total,
            terminated=self.reward is not None,
            truncated=False,
        )


def read_human_trajectory(path: str | Path) -> HumanTrajectory:
    """Read one file.

    Raises:
        FileNotFoundError: there is no such file.
        RecordingError: it is no trajectory; names file, line and field. What is merely inconsistent is in `faults`.
    """
    path = Path(path)
    lines: list[_Line] = []
    with path.open("rb") as file:
        while text := file.readline(MAX_LINE_BYTES + 1):
            where = f"{path}, line {len(lines) + 1}"
            if len(text) > MAX_LINE_BYTES or len(lines) == MAX_VISITS:
                raise RecordingError(
                    f"{where}: a trajectory has at most {MAX_VISITS:,} lines of {MAX_LINE_BYTES:,} bytes"
                )
            lines.append(_parse(text, where))
    if not lines:
        raise RecordingError(f"{path}: holds no page")
    goal = _goal(lines[0].goal)
    visits, faults, names = [], [], set()
    for number, line in enumerate(lines, start=1):
        visit, name, own = _visit(line)
        visits.append(visit)
        names.add(name)
        faults += [f"line {number}: {fault}" for fault in own]
        if line.goal != lines[0].goal:
            faults.append(f"line {number}: the goal is another one than on line 1")
        if (line.reward is not None) != (line.page == "done"):
            faults.append(f"line {number}: a reward belongs to the last page, which is 'done', and to no other")
    if len(names) > 1:
        faults.append(f"the addresses name {len(names)} sessions: {', '.join(map(repr, sorted(names)))}"[:300])
    last = lines[-1]
    faults += _goal_faults(goal) + _reward_faults(goal, visits[-1], last.reward, last.reward_info or {})
    return HumanTrajectory(
        name=sorted(names)[0],
        goal=goal,
        visits=tuple(visits),
        actions=tuple(action_between(before, after) for before, after in pairwise(visits)),
        reward=last.reward,
        reward_info=last.reward_info or {},
        faults=tuple(faults),
    )


def action_between(before: Visit, after: Visit) -> str | None:
    """Return the one action that leads from a page to the next; None where none does, as for a page loaded again."""
    match before.page, after.page:
        case "index", "search_results" if after.number == 1:
            return f"search[{' '.join(after.words)}]"
        case ("search_results" | "item_page" | "item_sub_page", "index"):
            return f"click[{pages.BACK.lower()}]"
        case "search_results", "search_results" if before.words == after.words:
            turned = {1: pages.NEXT, -1: pages.PREVIOUS}.get(after.number - before.number)
            return None if turned is None else f"click[{turned.lower()}]"
        case "search_results", "item_page" if not after.options:
            return f"click[{str(after.asin).lower()}]"
        case "item_page", "item_page" if before.asin == after.asin:
            chosen = [value for name, value in after.options.items() if before.options.get(name) != value]
            return f"click[{chosen[0]}]" if len(chosen) == 1 and before.options.keys() <= after.options.keys() else None
        case "item_page", "item_sub_page" if before.asin == after.asin and after.sub_page is not None:
            return f"click[{after.sub_page.lower()}]"
        case ("item_page", "search_results") if before.words == after.words and before.number == after.number:
            return f"click[{pages.PREVIOUS.lower()}]"
        case "item_sub_page", "item_page" if before.asin == after.asin:
            return f"click[{pages.PREVIOUS.lower()}]"
        case "item_page", "done" if before.asin == after.asin and before.options == after.options:
            return f"click[{pages.BUY.lower()}]"
    return None


def _parse(text: bytes, where: str) -> _Line:
    try:
        return _Line.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        found = repr(first["input"])[:_SHOWN]
        raise RecordingError(f"{where}, field {field!r}: {first['msg']}, but found {found}") from None


def _goal(record: _GoalRecord) -> Goal:
    return Goal(**record.model_dump())


def _visit(line: _Line) -> tuple[Visit, str, list[str]]:
    """Return a page, the session's name, and where the address and the content differ."""
    parts = [unquote(part) for part in urlsplit(line.url).path.split("/")[1:]]
    content = line.content or _Content()
    told = _told(line.page, content)
    if line.page == "index":
        name, named = (parts[0] if len(parts) == 1 else ""), Visit("index")
    else:
        name = parts[1] if len(parts) > 1 else ""
        named = _named(line.page, parts) if parts[:1] == [line.page] else None
    faults = []
    if named is None or not name:
        faults.append(f"the address is not that of a page {line.page!r}: {line.url[:_SHOWN]!r}")
    else:
        # Addresses do not say what a page lists or what was paid.
        named = named._replace(shown=told.shown, price=told.price)
        for field, ours, theirs in zip(Visit._fields, told, named, strict=True):
            if field != "sub_page" and ours != theirs:
                faults.append(f"{field} is {ours!r:.80} in the content and {theirs!r:.80} in the address")
        told = told._replace(sub_page=named.sub_page)
    return told, name, faults


def _told(page: PageName, content: _Content) -> Visit:
    words = _literal(content.keywords) if isinstance(content.keywords, str) else content.keywords
    return Visit(
        page,
        words=tuple(words or ()) if isinstance(words, list | tuple) else (),
        number=content.page or 1,
        shown=content.search_result_asins or (),
        asin=content.asin,
        options=content.options,
        price=content.price,
    )


def _named(page: PageName, parts: list[str]) -> Visit | None:
    """Return what the parts of an address say of a page; None where they are not those of its kind.

    Unquoted values may hold slashes, so that the parts are counted from both ends and the rest is one value.
    """
    rest = parts[2:]
    if page == "done" and len(rest) >= 2:
        options = _literal("/".join(rest[1:]))
        return Visit(page, asin=rest[0], options=options) if isinstance(options, dict) else None
    at = {"search_results": len(rest) - 1}.get(page)
    asin = None
    if page != "search_results":
        asin, rest = (rest[0], rest[1:]) if rest else (None, [])
        at = next((place for place in range(len(rest) - 1, 0, -1) if rest[place].isdecimal()), None)
    if at is None or at < 1 or not rest[at].isdecimal() or len(rest[at]) > 6:
        return None
    words, number, behind = _literal("/".join(rest[:at])), int(rest[at]), rest[at + 1 :]
    if not isinstance(words, list):
        return None
    sub_page = behind.pop(0) if page == "item_sub_page" and behind else None
    options = _literal("/".join(behind)) if behind else {}
    if not isinstance(options, dict):
        return None
    return Visit(page, words=tuple(words), number=number, asin=asin, options=options, sub_page=sub_page)


def _literal(text: str) -> Any:
    """Return the list or dictionary of texts that Python wrote; None for anything else."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    texts = value.items() if isinstance(value, dict) else [(value, "")] if isinstance(value, list) else None
    if texts is None:
        return None
    flat = value if isinstance(value, list) else [*value.keys(), *value.values()]
    return value if all(isinstance(each, str) for each in flat) else None


def _goal_faults(goal: Goal) -> list[str]:
    limit = _LIMIT.search(goal.instruction_text)
    if limit is not None and float(limit[1]) != goal.price_upper:
        return [f"the instruction limits the price to {limit[1]}, the goal to {goal.price_upper}"]
    return []


def _reward_faults(goal: Goal, bought: Visit, reward: float | None, info: Mapping[str, float | bool]) -> list[str]:
    """Return where a reward, its parts, and what they were made of do not agree."""
    if reward is None:
        return []
    faults = []
    attributes, options = len(goal.attributes), len(goal.goal_options)
    if bought.price is not None and (bought.price <= goal.price_upper) != bool(info.get("r_price")):
        faults.append(
            f"r_price is {info.get('r_price')} at a price of {bought.price} and a limit of {goal.price_upper}"
        )
    if ("r_option" in info) != bool(options):
        faults.append("r_option belongs to goals that ask for options, and to no others")
    elif options:
        met = len(matched_options(goal, bought.options.values()))
        if not math.isclose(met / options, info["r_option"], abs_tol=_TOLERANCE):
            faults.append(f"r_option is {info['r_option']}, but {met} of {options} options were chosen")
    title = float(info.get("title_score", 0.0))
    similar = bool(info.get("query_match")) or bool(info.get("category_match")) or title > SIMILAR_TITLE
    if not math.isclose(type_factor(title, similar=similar), info.get("r_type", -1.0), abs_tol=_TOLERANCE):
        faults.append(f"r_type is {info.get('r_type')}, which its query, category and title score do not give")
    met_wishes = info.get("r_att", 0) * attributes + info.get("r_option", 0) * options + bool(info.get("r_price"))
    total = info.get("r_type", 0) * met_wishes / (attributes + options + 1)
    if not math.isclose(total, reward, abs_tol=_TOLERANCE):
        faults.append(f"the reward is {reward}, but its parts give {total}")
    return faults


def _known_actions(visit: Visit) -> tuple[str, ...]:
    """Return the clicks that a page offers, as far as the file tells."""
    clicks = {
        "index": [],
        "search_results": [pages.BACK, pages.NEXT, *([pages.PREVIOUS] if visit.number > 1 else []), *visit.shown],
        "item_page": [pages.BACK, pages.PREVIOUS, *visit.options.values(), pages.BUY],
        "item_sub_page": [pages.BACK, pages.PREVIOUS],
        "done": [],
    }[visit.page]
    return tuple(dict.fromkeys(f"click[{label.lower()}]" for label in clicks))


def _known_page(goal: Goal, visit: Visit) -> str:
    facts = [f"Instruction: {goal.instruction_text}"]
    if visit.page == "search_results":
        facts += [f"Page {visit.number}", *visit.shown]
    elif visit.page != "index":
        facts += [str(visit.asin), *(f"{name}: {value}" for name, value in visit.options.items())]
        facts += [visit.sub_page] if visit.sub_page else []
    return pages.SEPARATOR.join(facts)
