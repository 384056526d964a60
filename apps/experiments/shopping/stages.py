"""The stages of phases 1 and 2, in the order of the work."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from lab.run import Making


class Stage(StrEnum):
    """Names of the stages' folders; several variants of a stage have the variant's name behind."""

    DEMONSTRATIONS = "1-demonstrations"
    STATE_MODEL = "2-state-model"
    EXAMPLES = "3-examples"
    RETRIEVER = "4-retriever"
    STUDENT = "5-student"
    RETRIEVAL = "6-retrieval"
    OWN_PAGES = "4-own-pages"
    TEACHERS = "6-teachers"
    AGENT = "7-agent"
    ABLATION = "8-ablation"
    ATTACK = "9-attack"
    STUDY = "9-study"


MAKING: Final[Mapping[str, Making]] = {
    Stage.DEMONSTRATIONS: Making("an expert, who knows what is wanted, shops for all goals", "half a minute"),
    Stage.STATE_MODEL: Making("a recurrent network learns to foresee the expert's next action", "two to four minutes"),
    Stage.EXAMPLES: Making("pages are cut into chunks, and the useful ones are labelled", "seconds"),
    Stage.RETRIEVER: Making("a gate learns which chunks of a page are worth reading", "one to six minutes"),
    Stage.STUDENT: Making("a language model learns to act from the expert's decisions", "many minutes"),
    Stage.RETRIEVAL: Making("rankings are compared on pages that nobody learnt from", "seconds"),
    Stage.OWN_PAGES: Making("the agent shops, so that its gate can learn from its own pages", "one or two minutes"),
    Stage.TEACHERS: Making("what can be reached at all is worked out for the held-out goals", "seconds"),
    Stage.AGENT: Making("an agent shops for all held-out goals", "up to two minutes"),
    Stage.ABLATION: Making("an agent with one thing changed shops for development goals", "up to a minute"),
    Stage.ATTACK: Making("an agent shops where products try to give it commands", "up to two minutes"),
    Stage.STUDY: Making("an agent shops for goals of a shop that nothing was tuned on", "up to a minute"),
}
"""What is said when a stage begins."""
