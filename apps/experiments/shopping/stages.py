"""The stages of phases 1 and 2, in the order of the work."""

from __future__ import annotations

from enum import StrEnum


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
