"""The encoder of an answerer's folder: one that can be had by its name, or a tuned one that the folder brings along.

Files of unknown origin are read, and none of them is executed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from sightline.jepa.asking.contents import ENCODER, AnswererError, check_file, files_under, read_manifest
from sightline.jepa.asking.encoders import TextEncoder, TunedEncoder, open_encoder

_SUFFIXES: Final = frozenset({".jinja", ".json", ".model", ".safetensors", ".txt"})
"""Kinds of files that a tuned encoder has: settings, weights, vocabularies and templates of tokenizers."""
_MODULE: Final = re.compile(r"sentence_transformers(?:\.[a-z_]+)*\.[A-Z]\w*")
"""Classes that sentence-transformers may make parts of a model of; it would take functions of any library."""


def open_own_encoder(folder: Path | str, device: str | None = None) -> TextEncoder:
    """Return the encoder that an answerer was trained with, the tuned one from its folder or else one by its name.

    Args:
        folder: folder of the answerer.
        device: where a model computes; None for what PyTorch prefers.

    Raises:
        FileNotFoundError: there is no answerer in the folder.
        AnswererError: a file is missing, damaged, or of a kind that a tuned encoder does not have.
        ImportError: the encoder needs sentence-transformers, which is not installed.
    """
    manifest = read_manifest(Path(folder))
    names = sorted(name for name in manifest.checksums if name.startswith(f"{ENCODER}/"))
    if not names:
        return open_encoder(manifest.encoder, device)
    content = Path(folder) / manifest.content
    for name in names:
        check_file(content / name, manifest.checksums[name])
    _check_kinds(content, names)
    return TunedEncoder(content / ENCODER, manifest.encoder, device)


def _check_kinds(content: Path, names: list[str]) -> None:
    """Refuse files that could be more than settings, weights and vocabularies."""
    strange = set(files_under(content, ENCODER)) ^ set(names)
    strange |= {name for name in names if Path(name).suffix not in _SUFFIXES}
    if strange:
        raise AnswererError(f"{content} holds {min(strange)!r:.80}, which no tuned encoder has; train anew")
    path = content / ENCODER / "modules.json"
    try:
        kinds = [str(module["type"]) for module in json.loads(path.read_bytes())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnswererError(f"{path} does not name the parts of a model: {error!r:.200}") from error
    for kind in kinds:
        if not _MODULE.fullmatch(kind):
            raise AnswererError(f"{path} names {kind!r:.80}, which is no part of sentence-transformers; train anew")
