"""What an answerer consists of, as a folder that changes whole or not at all, and in which nothing is executed.

`answerer.json` names the folder of the current contents and the SHA-256 of every file in it. New contents are written
beside the old ones, and then `answerer.json` is replaced; whoever reads finds the one or the other.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar
from uuid import uuid4

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.jepa.asking.encoders import TunedEncoder
from sightline.jepa.explaining.decisions import AnswerPolicy, read_policy, write_policy
from sightline.jepa.files import atomic_file, sync_folder
from sightline.jepa.models.model import JEPAModel
from sightline.jepa.ranking.fusion import SharedWords

MANIFEST: Final = "answerer.json"
ENCODER: Final = "encoder"
"""Folder, in that of the contents, of an encoder that cannot be had by its name."""
_FILES: Final = (
    "model/model.safetensors",
    "model/model.json",
    "policy.json",
    "vectors.safetensors",
    "sources.jsonl",
    "known.jsonl",
)
_ARRAYS: Final = ("source_vectors", "category_vectors", "centroids", "known_vectors")

_Line = TypeVar("_Line", bound=BaseModel)


class AnswererError(ValueError):
    """An answerer's folder cannot be used, or a source cannot be added or removed; the message says why."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Category(_Record):
    """An area that sources are filed under and questions can be steered to."""

    name: str
    """What callers say."""
    description: str
    """What it is about; its vector is what steers."""


class StoredSource(_Record):
    """One line of `sources.jsonl`."""

    id: str
    """Name of the source."""
    text: str
    """What it says."""
    category: Annotated[int, Field(ge=0)]
    """Number of its category."""


class KnownPair(_Record):
    """One line of `known.jsonl`: a training question, and what answers it."""

    question: str
    """The question."""
    source: Annotated[int, Field(ge=0)]
    """Number of the source."""


class Manifest(_Record):
    """The file `answerer.json`."""

    schema_version: Literal[1] = 1
    """Version of the folder."""
    encoder: str
    """Name of the encoder of all vectors."""
    categories: Annotated[tuple[Category, ...], Field(min_length=1)]
    """The K categories."""
    shared_words: SharedWords | None = None
    """How much shared words count; None, as in folders from before there was such a thing, for not at all."""
    content: Annotated[str, Field(pattern=r"^content-[0-9a-f]{32}$")]
    """Folder of the files."""
    checksums: dict[str, str]
    """SHA-256 of each file, those of an encoder that the folder brings along among them."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that answering needs. Axes: S sources, K categories, N known pairs, D dimensions."""

    encoder: str
    """Name of the encoder of all vectors."""
    categories: tuple[Category, ...]
    """K categories."""
    model: JEPAModel
    """The model."""
    policy: AnswerPolicy
    """What turns evidence into decisions."""
    sources: tuple[StoredSource, ...]
    """S sources."""
    known: tuple[KnownPair, ...]
    """N pairs."""
    source_vectors: NDArray[np.float32]
    """`[S, D]` float32, unit rows."""
    category_vectors: NDArray[np.float32]
    """`[K, D]` float32, unit rows: the descriptions."""
    centroids: NDArray[np.float32]
    """`[K, D]` float32, unit rows: where each category's sources lay in what is searched, when probabilities were
    learned.
    """
    known_vectors: NDArray[np.float32]
    """`[N, D]` float32, unit rows: the known questions."""
    shared_words: SharedWords | None = None
    """How much words count that questions share with sources, when probabilities were learned; None for not at all."""

    def __post_init__(self) -> None:
        sizes = {"sources": len(self.sources), "categories": len(self.categories), "known pairs": len(self.known)}
        for name, rows, count in (
            ("source_vectors", self.source_vectors, sizes["sources"]),
            ("category_vectors", self.category_vectors, sizes["categories"]),
            ("centroids", self.centroids, sizes["categories"]),
            ("known_vectors", self.known_vectors, sizes["known pairs"]),
        ):
            if rows.shape != (count, self.dimension) or rows.dtype != np.float32:
                raise AnswererError(
                    f"{name} must be float32 [{count}, {self.dimension}], not {rows.dtype} {list(rows.shape)}"
                )
            if len(rows) and not (np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-3).all():
                raise AnswererError(f"{name} must be unit rows")
        names = [category.name for category in self.categories]
        if tuple(names) != self.model.names or len(set(names)) != len(names):
            raise AnswererError("the categories are not those of the model, or one of them stands twice")
        if self.encoder != self.model.encoder:
            raise AnswererError(f"the encoder is {self.encoder!r}, but the model's is {self.model.encoder!r}")
        ids = {source.id for source in self.sources}
        if len(ids) != len(self.sources):
            raise AnswererError("two sources have the same id")
        wrong = [source.id for source in self.sources if source.category >= len(names)]
        if wrong:
            raise AnswererError(f"source {wrong[0]!r:.80} is of a category that does not exist")
        if any(pair.source >= len(self.sources) for pair in self.known):
            raise AnswererError("a known pair names a source that does not exist")

    @property
    def dimension(self) -> int:
        """D."""
        return self.model.config.predictor.dimension


def write_contents(folder: Path, contents: Contents, encoder: TunedEncoder | None = None) -> None:
    """Write an answerer; whoever reads the folder finds what was there before, or this, whole.

    Args:
        folder: folder to write into, made if need be. Other files in it are left alone.
        contents: what to write.
        encoder: its encoder, if that cannot be had by its name.
    """
    name = f"content-{uuid4().hex}"
    content = folder / name
    try:
        contents.model.save_pretrained(content / "model")
        write_policy(content / "policy.json", contents.policy)
        arrays = {key: np.ascontiguousarray(getattr(contents, key)) for key in _ARRAYS}
        with atomic_file(content / "vectors.safetensors") as file:
            file.write(safetensors.numpy.save(arrays))
        for key, records in (("sources", contents.sources), ("known", contents.known)):
            with atomic_file(content / f"{key}.jsonl") as file:
                file.writelines(record.model_dump_json().encode() + b"\n" for record in records)
        if encoder is not None:
            encoder.save(content / ENCODER)
        files = [*_FILES, *files_under(content, ENCODER)]
        manifest = Manifest(
            encoder=contents.encoder,
            categories=contents.categories,
            shared_words=contents.shared_words,
            content=name,
            checksums={key: _checksum(content / key) for key in files},
        )
        sync_folder(folder)
        with atomic_file(folder / MANIFEST) as file:
            file.write(manifest.model_dump_json(indent=2).encode() + b"\n")
    except BaseException:
        shutil.rmtree(content, ignore_errors=True)
        raise
    for other in folder.glob("content-*"):  # what older or interrupted writers have left
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)


def read_contents(folder: Path) -> Contents:
    """Read what `write_contents` wrote, and check it.

    Raises:
        FileNotFoundError: there is no answerer in the folder.
        AnswererError: a file is missing, damaged, or does not fit the others; the message names it.
    """
    manifest = read_manifest(folder)
    content = folder / manifest.content
    for name in _FILES:
        check_file(content / name, manifest.checksums.get(name))
    try:
        arrays = safetensors.numpy.load((content / "vectors.safetensors").read_bytes())
        return Contents(
            encoder=manifest.encoder,
            categories=manifest.categories,
            model=JEPAModel.from_pretrained(content / "model"),
            policy=read_policy(content / "policy.json"),
            sources=tuple(_read_lines(content / "sources.jsonl", StoredSource)),
            known=tuple(_read_lines(content / "known.jsonl", KnownPair)),
            shared_words=manifest.shared_words,
            **{key: arrays[key] for key in _ARRAYS},
        )
    except (safetensors.SafetensorError, KeyError) as error:
        raise AnswererError(f"{content / 'vectors.safetensors'} lacks something: {error!r:.200}") from error
    except ValueError as error:
        raise AnswererError(f"{folder}: {error}") from error


def read_manifest(folder: Path) -> Manifest:
    """Read the file `answerer.json` of a folder.

    Raises:
        FileNotFoundError: there is no answerer in the folder.
        AnswererError: the file is damaged; the message says where.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no answerer ({MANIFEST} is missing); give what `train --output` or save_pretrained was "
            "given"
        )
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise AnswererError(f"{path}, field {'.'.join(map(str, first['loc']))!r}: {first['msg']}") from error


def files_under(content: Path, name: str) -> list[str]:
    """Return the paths of all files in a folder of the contents, from these, in order; none without the folder."""
    return sorted(path.relative_to(content).as_posix() for path in (content / name).rglob("*") if not path.is_dir())


def check_file(path: Path, checksum: str | None) -> None:
    """Hold a file of the contents to its checksum.

    Raises:
        AnswererError: there is no checksum, or no such file, or it is damaged.
    """
    if checksum is None:
        raise AnswererError(f"{path.parent.parent / MANIFEST} has no checksum of {path.name}")
    if not path.is_file():
        raise AnswererError(f"{path} is missing; copy the folder again, or train anew")
    if _checksum(path) != checksum:
        raise AnswererError(f"{path} is damaged: its checksum is not that of {MANIFEST}; copy it again, or train anew")


def _read_lines(path: Path, record: type[_Line]) -> list[_Line]:
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            records.append(record.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise AnswererError(f"{path}, line {number}: {first['msg']}") from error
    return records


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
