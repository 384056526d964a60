"""`sightline-jepa ask`: one question in, sources with confidence and decision out."""

from __future__ import annotations

import argparse
import sys
import unicodedata
from pathlib import Path
from typing import Final

from sightline.jepa.asking.answer import Answer
from sightline.jepa.asking.answerer import Answerer
from sightline.jepa.asking.encoders import open_encoder
from sightline.jepa.files import atomic_file

_LONGEST: Final = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("question", help="question in words")
    parser.add_argument("--model", type=Path, required=True, help="folder that `sightline-jepa train` has written")
    parser.add_argument(
        "--encoder", help="encoder it was trained with; without it the one that the folder names or holds"
    )
    parser.add_argument("--category", help="area to steer to")
    parser.add_argument("--keywords", help="words to steer with")
    parser.add_argument("--top-k", type=int, default=3, help="how many sources to show (default 3)")
    parser.add_argument("--json", action="store_true", help="write the whole answer as one JSON object")
    parser.add_argument("--page", type=Path, help="file to write the answer to as an HTML page that explains it")


def run(arguments: argparse.Namespace) -> None:
    """Ask and show.

    Raises:
        ValueError: the folder, the encoder or the question cannot be used; the message says why.
        FileNotFoundError: there is no answerer in the folder.
    """
    encoder = None if arguments.encoder is None else open_encoder(arguments.encoder)
    answerer = Answerer.from_pretrained(arguments.model, encoder)
    answer = answerer.ask(
        arguments.question, category=arguments.category, keywords=arguments.keywords, top_k=arguments.top_k
    )
    if arguments.page is not None:
        with atomic_file(arguments.page) as file:
            file.write(answer.page().encode())
    sys.stdout.write(f"{answer.model_dump_json() if arguments.json else in_lines(answer)}\n")


def in_lines(answer: Answer) -> str:
    """Return an answer as lines for a terminal: what to do and why, and the sources."""
    sure = "" if answer.confidence is None else f" (first source right: {answer.confidence:.0%})"
    lines = [f"{answer.decision.value.upper()}{sure}. {answer.advice}", *(f"  - {why}" for why in answer.reasons)]
    for source in answer.sources:
        lines += [f"{source.rank}. {_shown(source.id)} [{_shown(source.category)}]", f"   {_shown(source.text)}"]
    return "\n".join(lines)


def _shown(text: str) -> str:
    """Return a text of unknown origin on one line, without characters that a terminal obeys."""
    plain = "".join(" " if unicodedata.category(c).startswith("C") else c for c in text[: 4 * _LONGEST])
    line = " ".join(plain.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
