"""The command `sightline-webshop play`: the shop in a terminal, one typed line at a time.

Lines come from standard input, so that a pipe can play as well as a person. What products say is stripped of everything
that a terminal might obey. The rules are the shop's; nothing here knows how a page is put together.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.webshop_env.errors import WebShopError
from sightline.webshop_env.rules.state import PageKind

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from sightline.webshop_env.commands.layout import Control, Layout
    from sightline.webshop_env.episodes.recording import Recording
    from sightline.webshop_env.episodes.reward_explanation import Explanation
    from sightline.webshop_env.episodes.snapshot import Moment
    from sightline.webshop_env.rules.shop import Shop
    from sightline.webshop_env.rules.state import ShopState

AGENT: Final = "person"
"""Who acted, in the trajectories that are saved."""

_HELP = "a number clicks · s WORDS searches · b [N] goes back a step [or to step N] · g [N] changes the goal · q quits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments, each with its meaning, unit and default."""
    add = parser.add_argument
    add("catalogue", nargs="?", type=Path, help="folder of a stored catalogue (default: generated products)")
    add("--goal", type=int, metavar="N", help="play goal N, from 0 (default: one that is drawn)")
    add("--products", type=int, metavar="N", help="how many products to generate (default: 1000)")
    add("--goals", choices=("human", "synthetic"), default="human", help="whose instructions (default: human)")
    add("--save", type=Path, metavar="FILE", help="write what was played here as trajectories; the file must not exist")


def run(arguments: argparse.Namespace) -> int:
    """Play until `q`, the end of the input or an interrupt.

    Args:
        arguments: parsed with the arguments of `add_arguments`.

    Returns:
        The exit status: 0, or 1 where there is nothing to play or the episodes cannot be saved; stderr says why.
    """
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    try:
        _check_unused(arguments.save)
        game = Game(_make_shop(arguments), arguments.goal)
        try:
            _play(game, console)
        finally:
            saved = _save(game, arguments.save)
        if saved:
            console.print(f"\nSaved {saved} to {arguments.save}.")
    except (WebShopError, OSError) as error:
        Console(stderr=True, markup=False, highlight=False, emoji=False).print(
            f"sightline-webshop play: {printable(str(error))}", soft_wrap=True
        )
        return 1
    return 0


class Game:
    """An episode in progress, its past, and the recordings of those before it.

    Args:
        shop: where it takes place.
        goal: index into the shop's goals; drawn by weight when None.

    Raises:
        GoalError: if there is no such goal.
    """

    def __init__(self, shop: Shop, goal: int | None) -> None:
        self.shop = shop
        self.trail: list[Moment] = []
        self._left: list[Recording] = []
        self.state = self._start(goal)

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self.state.done or self.state.truncated

    def act(self, action: str) -> bool:
        """Take an action; returns whether the page offered it."""
        before = self.state
        self.state, outcome = self.shop.act(before, action)
        self.trail.append((before, action))
        return outcome.valid

    def go_back(self, step: int) -> None:
        """Stand again where the episode stood after so many steps, from 0 up to the number taken."""
        if step < len(self.trail):
            self.state = self.trail[step][0]
            del self.trail[step:]

    def begin(self, goal: int | None) -> None:
        """Leave this episode for another one.

        Raises:
            GoalError: if there is no such goal; this episode stays as it is.
        """
        state = self._start(goal)
        self._left = self.recordings()
        self.state, self.trail = state, []

    def recordings(self) -> list[Recording]:
        """Every episode in which something was done, in order."""
        from sightline.webshop_env.episodes.recording import record

        if not self.trail:
            return self._left
        episode_id = f"{AGENT}-{len(self._left)}-goal-{self.state.goal}"
        return [*self._left, record(self.shop, self.trail, self.state, episode_id=episode_id, agent=AGENT)]

    def _start(self, goal: int | None) -> ShopState:
        from sightline.webshop_env.goals.goals import draw_goal

        rng = random.Random()
        return self.shop.start(draw_goal(self.shop.goals, rng) if goal is None else goal, rng.getrandbits(32))


def printable(text: str) -> str:
    """Return the text without what a terminal obeys rather than shows: escape sequences, controls, hidden marks.

    Lines stay apart; every other character that is not printable becomes a space.
    """
    return "".join(character if character.isprintable() or character == "\n" else " " for character in text)


def _check_unused(path: Path | None) -> None:
    if path is not None and path.exists():
        raise WebShopError(f"--save: {str(path)!r} exists already; name another file")


def _make_shop(arguments: argparse.Namespace) -> Shop:
    from sightline.webshop_env.catalogue.catalogue import Catalogue
    from sightline.webshop_env.goals.goals import build_goals
    from sightline.webshop_env.rules.shop import Shop

    if arguments.catalogue is None:
        catalogue = Catalogue.generate(1000 if arguments.products is None else arguments.products)
    elif arguments.products is not None:
        raise WebShopError("--products is for generated catalogues; leave it out to play in a stored one")
    else:
        catalogue = Catalogue.open(arguments.catalogue)
    return Shop(catalogue, build_goals(catalogue, arguments.goals, 42))


def _play(game: Game, console: Console) -> None:
    """Show a page and do what is typed, again and again."""
    from sightline.webshop_env.commands.layout import lay_out

    console.print(_HELP, style="dim")
    shown: ShopState | None = None
    layout = lay_out(game.shop, game.state)
    while True:
        if game.state is not shown:
            shown, layout = game.state, lay_out(game.shop, game.state)
            for line in _draw(game, layout):
                console.print(line)
        try:
            typed = console.input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if typed == "q":
            return
        problem = _obey(game, layout, typed)
        if problem:
            console.print(printable(problem), style="yellow")


def _obey(game: Game, layout: Layout, typed: str) -> str:
    """Do what a line says; returns what is wrong with it, or ""."""
    from sightline.webshop_env.commands.layout import search_action
    from sightline.webshop_env.rules.shop import parse_action

    if parse_action(typed) is not None:
        return _act(game, typed)
    command, _, rest = typed.partition(" ")
    rest = rest.strip()
    if command == "b":
        return _go_back(game, rest)
    if command == "g":
        return _begin(game, rest)
    if command == "s" and not game.over:
        action = search_action(rest)
        if action is None:
            return "type a few words after the s, for example: s desk lamp"
        return "" if game.act(action) else "the shop does not understand these words; they cost a step all the same"
    if command == "s" or (game.over and command.isdecimal()):
        return "the episode has ended: b goes back, g draws another goal"
    controls = _controls(layout)
    if command.isascii() and command.isdecimal() and not rest and 1 <= int(command[:9]) <= len(controls):
        game.act(str(controls[int(command) - 1].action))
        return ""
    return f"{typed[:80]!r} means nothing here: {_HELP}"


def _act(game: Game, action: str) -> str:
    """Take an action as agents write it; returns what is wrong with it, or "", and then it costs no step."""
    from sightline.webshop_env.rules.action_text import action_error

    if game.over:
        return "the episode has ended: b goes back, g draws another goal"
    problem = action_error(game.shop.page(game.state), action)
    if problem is None:
        game.act(action)
    return problem or ""


def _go_back(game: Game, rest: str) -> str:
    if not game.trail:
        return "this is where the episode begins"
    if not rest:
        game.go_back(len(game.trail) - 1)
    elif rest.isascii() and rest.isdecimal() and int(rest[:9]) < len(game.trail):
        game.go_back(int(rest))
    else:
        return f"b takes a step from 0 to {len(game.trail) - 1}, not {rest[:80]!r}"
    return ""


def _begin(game: Game, rest: str) -> str:
    if rest and not (rest.isascii() and rest.isdecimal()):
        return f"g takes the number of a goal, not {rest[:80]!r}"
    try:
        game.begin(int(rest[:18]) if rest else None)
    except WebShopError as error:
        return str(error)
    return ""


def _controls(layout: Layout) -> list[Control]:
    """Return what can be clicked, in the order of its numbers."""
    found = [*layout.navigation, *(hit.control for hit in layout.hits)]
    found += [value for values in layout.groups.values() for value in values]
    found += [*layout.sub_pages, *([layout.buy] if layout.buy else [])]
    return [control for control in found if control.action is not None]


def _draw(game: Game, layout: Layout) -> Iterator[Text]:
    """Return what a person needs to know at a step, line by line."""
    from rich.text import Text

    state = game.state
    limit = "" if state.step_limit is None else f" of {state.step_limit}"
    yield Text(f"\nGoal {state.goal} · {state.steps}{limit} steps", style="dim")
    yield Text(printable(layout.instruction), style="bold")
    yield Text()
    if layout.explanation is not None:
        yield from _draw_reward(layout.explanation)
    else:
        yield from _draw_page(layout)
    if state.truncated:
        yield Text("The step limit is reached without a purchase: b goes back, g draws another goal", style="yellow")


def _draw_page(layout: Layout) -> Iterator[Text]:
    """Return the page, what can be clicked with its number."""
    from rich.text import Text

    numbers = {id(control): number for number, control in enumerate(_controls(layout), start=1)}

    def button(control: Control, text: str = "") -> Text:
        number = numbers.get(id(control))
        key = "  - " if number is None else f"{number:>3} "
        mark = (" (seen)" if text else " (chosen)") if control.marked else ""
        return Text.assemble((key, "bold cyan"), printable(text or control.text), (mark, "magenta"))

    if layout.kind is PageKind.INDEX:
        yield Text("The search bar, and nothing else: s WORDS searches", style="dim")
    yield from map(button, layout.navigation)
    if layout.count:
        yield Text(layout.count, style="dim")
    for hit in layout.hits:
        yield Text.assemble(button(hit.control, hit.title), (f"  {printable(hit.price)}", "green"))
    if layout.title:
        yield Text(printable(layout.title), style="bold")
    yield from (Text(printable(line)) for line in [*layout.facts, *layout.lines])
    for name, values in layout.groups.items():
        yield Text(printable(name), style="bold")
        yield from map(button, values)
    yield from map(button, [*layout.sub_pages, *([layout.buy] if layout.buy else [])])


def _draw_reward(why: Explanation) -> Iterator[Text]:
    from rich.text import Text

    yield Text(f"Reward {why.reward.total:.3g} of 1", style="bold green" if why.reward.total >= 1 - 1e-9 else "bold")
    chosen = ", ".join(f"{name}: {value}" for name, value in why.options)
    yield Text(printable(f"You bought {why.bought.title}{' with ' + chosen if chosen else ''}."))
    for name, wishes in why.wishes.items():
        for wish in wishes:
            yield Text(printable(f"  {'met   ' if wish.met else 'missed'} {name.lower()}: {wish.text}"))
    yield Text(why.kind)
    yield Text(why.formula, style="dim")


def _save(game: Game, path: Path | None) -> str:
    """Write the episodes down; returns how many, in words, or "" where nothing was to be written."""
    from sightline.webshop_env.episodes.recording import write_recordings

    if path is None:
        return ""
    recordings = game.recordings()
    if not recordings:
        return ""
    write_recordings(path, recordings)
    return "1 episode" if len(recordings) == 1 else f"{len(recordings)} episodes"
