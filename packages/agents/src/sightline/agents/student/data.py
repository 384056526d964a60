"""What the student learns from: expert demonstrations seen through the eyes of every agent that it will serve.

An example shows either the whole page after a rolling history, as `baseline_react` reads it, or a few chunks of the
page, as the gated agents do; so one student copes with both. Pure functions; randomness is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sightline.agents.prompts import react_prompt, render_prompt, with_tip
from sightline.agents.reading.pages import page_chunks
from sightline.agents.student.records import StudentExample

if TYPE_CHECKING:
    from sightline.agents.grammar import TaskGrammar
    from sightline.agents.reading.types import ChunkScorer
    from sightline.agents.records import Situation
    from sightline.agents.student.config import StudentDataConfig
    from sightline.agents.student.tips import TipFn


def student_examples(
    demonstrations: Sequence[tuple[Situation, str]],
    grammar: TaskGrammar,
    config: StudentDataConfig,
    rng: np.random.Generator,
    scorers: Sequence[ChunkScorer] = (),
    *,
    tips: TipFn | None = None,
    own: Sequence[tuple[float, ...]] | None = None,
) -> list[StudentExample]:
    """Make training examples of expert demonstrations, in their order.

    An example whose tip decides on an action learns that action, another the expert's, or `own`.

    Args:
        demonstrations: situations and the expert's action in each, which is one of the situation's.
        grammar: how pages and tasks are read.
        config: mixture of views.
        rng: source of randomness, consumed.
        scorers: scorers of the gated agents that the student will serve; without any, all chunk views are random.
        tips: function that makes tips, for the share of examples that the config wants.
        own: one distribution per demonstration, over the situation's actions, to be learnt where no tip decides:
            `value_targets` teaches what actions are worth, the student's own keep it as it is.

    Raises:
        ValueError: the config wants tips and nobody makes them.
    """
    if config.tip_share > 0 and tips is None:
        raise ValueError(f"tip_share is {config.tip_share}, so examples need the argument `tips`")
    situations = [situation for situation, _ in demonstrations]
    pages = [page_chunks(s.observation, s.instruction, grammar, config.chunking) for s in situations]
    scores = [scorer(situations, pages) for scorer in scorers]
    examples = []
    for position, (situation, action) in enumerate(demonstrations):
        rankings = [of_scorer[position] for of_scorer in scores]
        for _ in range(config.views):
            prompt = _view(situation, action, pages[position], rankings, grammar, config, rng)
            tip = tips(situation, action, rng) if tips and rng.random() < config.tip_share else None
            if tip is not None:
                prompt = with_tip(prompt, tip.text)
            prompt, *actions = grammar.abbreviate(situation.observation, (prompt, *situation.actions))
            decided = tip.action if tip else None
            target = own[position] if own is not None and decided is None else None
            chosen = situation.actions.index(action if decided is None else decided)
            examples.append(StudentExample(prompt, tuple(actions), chosen, target))
    return examples


def value_targets(
    situations: Sequence[Situation], *, temperature: float, preferred: Sequence[str] | None = None
) -> list[tuple[float, ...]]:
    """Return the softmax of what candidates are worth, per situation: equally good actions are equally right.

    That holds for one who sees the goal. Whoever must read may get on with some of them only: every search that the
    right product answers is worth the same, but it stands first after one and fortieth after another. So of equally
    good actions one may be preferred, such as what a rule that reads would do.

    Args:
        situations: situations with values.
        temperature: difference of values at which an action is e times as likely to be learnt.
        preferred: one action per situation, which takes the share of all best ones if it is among them.

    Raises:
        ValueError: a situation has no values.
    """
    if any(situation.values is None for situation in situations):
        raise ValueError("a situation has no values; collect the demonstrations with `values`")
    targets = []
    for position, situation in enumerate(situations):
        values = np.asarray(situation.values, dtype=np.float64)
        weights = np.exp((values - values.max()) / temperature)
        best = situation.best_actions
        if preferred is not None and preferred[position] in best:
            places = [place for place, action in enumerate(situation.actions) if action in best]
            shared = weights[places].sum()
            weights[places] = 0.0
            weights[situation.actions.index(preferred[position])] = shared
        targets.append(tuple((weights / weights.sum()).tolist()))
    return targets


def sample_chunks(
    chunks: Sequence[str],
    positives: Sequence[int],
    *,
    count: int,
    scores: NDArray[np.floating] | None,
    include_positive: bool,
    rng: np.random.Generator,
) -> list[int]:
    """Return indices of `count` chunks (all, where there are fewer), best first.

    Args:
        chunks: chunks of the page.
        positives: indices of the chunks that hold the expert's target; may be empty.
        count: number of chunks to show.
        scores: [N] scores by which to take the best; None takes random ones.
        include_positive: whether to put a positive in place of the last choice where none was chosen.
        rng: source of randomness, consumed.
    """
    ranks = rng.random(len(chunks)) if scores is None else np.asarray(scores)
    chosen = np.argsort(-ranks, kind="stable")[:count].tolist()
    if include_positive and positives and not set(positives) & set(chosen):
        chosen[-1] = int(rng.choice(np.asarray(positives)))
    return chosen


def _view(
    situation: Situation,
    action: str,
    chunks: Sequence[str],
    rankings: Sequence[NDArray[np.float64]],
    grammar: TaskGrammar,
    config: StudentDataConfig,
    rng: np.random.Generator,
) -> str:
    task = grammar.task_text(situation.instruction)
    memory = grammar.memory(situation.events, situation.instruction) if config.history == "memory" else ()
    if rng.random() < config.full_page_share:
        if config.history != "turns":
            page = grammar.page_text(situation.observation, situation.instruction)
            return render_prompt(task, [page], memory=memory)
        return react_prompt(situation, grammar, turns=config.history_turns, max_characters=config.history_characters)
    ranked = rankings and rng.random() < config.ranked_share
    indices = sample_chunks(
        chunks,
        grammar.target_chunks_of(situation.best_actions or (action,), chunks),
        count=int(rng.integers(1, config.max_chunks + 1)),
        scores=rankings[int(rng.integers(len(rankings)))] if ranked else None,
        include_positive=rng.random() < config.target_share,
        rng=rng,
    )
    return render_prompt(task, [chunks[index] for index in indices], memory=memory)
