"""What a task's pages and actions look like: all that this package knows of any one environment.

A grammar is a frozen record of data and of pure functions over text. It is passed to whatever reads pages or tells
actions apart, so another environment needs another grammar and no change elsewhere. Give it functions of an importable
module rather than lambdas: rollout jobs, which hold one, are sent to worker processes by pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sightline.agents.grammar.purchases import PurchaseReader
from sightline.retrieval import chunk_text

if TYPE_CHECKING:
    from sightline.agents.records import Event
    from sightline.agents.trajectory import Step
    from sightline.retrieval import ChunkingConfig


def one_line(instruction: str) -> str:
    """Return the instruction with single spaces for all white space."""
    return " ".join(instruction.split())


def whole_page(observation: str, instruction: str) -> str:
    """Return the observation as it is."""
    return observation


def cut_at_blank_lines(page: str, chunking: ChunkingConfig) -> tuple[str, ...]:
    """Return the chunks of `sightline.retrieval.chunk_text`, in page order."""
    return tuple(chunk.text for chunk in chunk_text(page, chunking))


def unabbreviated(page: str, texts: Sequence[str]) -> list[str]:
    """Return the texts as they are."""
    return list(texts)


def nothing_remembered(events: Sequence[Event], instruction: str) -> tuple[str, ...]:
    """Return no lines."""
    return ()


def own_words(action: str, page: Sequence[str]) -> str:
    """Return the action itself: it says what it is about."""
    return action


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskGrammar:
    """The pages and actions of one kind of task."""

    name: str
    """Short name of the task, for cards and messages."""
    role: str
    """Sentence that tells a chat model what it is there for."""

    action_types: tuple[str, ...]
    """All types of action, in the order of a classifier's outputs."""
    action_type: Callable[[str], str]
    """An action -> its type, one of `action_types`; ValueError for what is no action."""
    free_text_types: frozenset[str] = frozenset()
    """Types whose words are thought of rather than read off the page, such as a search."""
    navigation_types: frozenset[str] = frozenset()
    """Types of action that can be taken without having read anything on the page, such as going back."""
    candidate_actions: Callable[[str, Any], tuple[str, ...]]
    """The instruction and `info["available_actions"]` of a page -> what can be chosen there, queries included."""
    target_chunks: Callable[[str, Sequence[str]], tuple[int, ...]]
    """An action and a page's chunks -> ascending indices of those that hold what it acts on; empty where none is."""

    task_text: Callable[[str], str] = one_line
    """An instruction -> the task on one line, as prompts show it."""
    page_text: Callable[[str, str], str] = whole_page
    """An observation and the instruction -> the page as it is read, without what only repeats the instruction."""
    cut_page: Callable[[str, ChunkingConfig], tuple[str, ...]] = cut_at_blank_lines
    """A page as it is read -> its chunks in page order."""
    abbreviate: Callable[[str, Sequence[str]], list[str]] = unabbreviated
    """The observation and some texts -> those texts with short labels for what is long and says nothing."""
    memory: Callable[[Sequence[Event], str], tuple[str, ...]] = nothing_remembered
    """The episode so far and the instruction -> lines that say what of it is worth remembering."""
    markers: tuple[str, ...] = ()
    """Pieces of text that pages and actions repeat and that are worth a token each."""

    action_words: Callable[[str, Sequence[str]], str | float] = own_words
    """An action and the lines of its page, lower-cased -> what it is about; a number is the score of an action whose
    words tell nothing (see `LexicalActor`)."""
    stop_words: frozenset[str] = frozenset()
    """Lower-cased words of instructions that tell nothing."""

    page_kinds: tuple[str, ...]
    """All kinds of page, in the order of a table's rows."""
    page_kind: Callable[[Sequence[str]], str]
    """The actions that a page offers -> its kind, one of `page_kinds`."""
    endings: tuple[str, ...]
    """How a failed episode may have ended, in the order of a table's rows."""
    ending: Callable[[Sequence[Step]], str]
    """The steps of a failed episode, with the expert's actions -> one of `endings`."""

    purchases: PurchaseReader | None = None
    """How purchases are read; None for a task in which nothing is bought."""

    def target_chunks_of(self, actions: Iterable[str], chunks: Sequence[str]) -> tuple[int, ...]:
        """Return ascending indices of the chunks that hold what any of the actions acts on."""
        return tuple(sorted({index for action in actions for index in self.target_chunks(action, chunks)}))

    def is_navigation(self, action: str) -> bool:
        """Return whether an action can be taken without having read anything on the page; free text always can.

        Raises:
            ValueError: the action is none.
        """
        return self.action_type(action) in self.free_text_types | self.navigation_types

    def is_free_text(self, action: str) -> bool:
        """Return whether the words of an action are thought of rather than read off the page.

        Raises:
            ValueError: the action is none.
        """
        return self.action_type(action) in self.free_text_types
