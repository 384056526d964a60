"""How a shop is made, as a small file beside what was recorded in it, so that anyone can open the same shop again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.webshop_env.catalogue.catalogue import Catalogue
from sightline.webshop_env.errors import CatalogueError
from sightline.webshop_env.files import atomic_file
from sightline.webshop_env.goals.goals import GoalKind, build_goals
from sightline.webshop_env.rules.shop import Shop

SHOP_FILE: Final = "shop.json"
"""Name under which a run keeps it."""

_MAX_BYTES: Final = 1 << 16
_RECORD: Final = ConfigDict(frozen=True, extra="forbid")


class Generated(BaseModel):
    """Products that `Catalogue.generate` makes up."""

    model_config = _RECORD

    kind: Literal["generated"] = "generated"
    """"generated"."""
    products: int = Field(ge=1)
    """Number of products."""
    seed: int
    """Seed of the catalogue."""
    long_texts: bool = False
    """Whether its products have long texts."""


class Official(BaseModel):
    """Products of the official files."""

    model_config = _RECORD

    kind: Literal["official"] = "official"
    """"official"."""
    products: Path
    """Path of the product file."""
    attributes: Path | None = None
    """Path of the attribute file; None without one."""
    human: Path | None = None
    """Path of the human instructions; None without them."""
    num_products: int | None = None
    """Number of records read; None for all."""


class Stored(BaseModel):
    """Products of a stored catalogue."""

    model_config = _RECORD

    kind: Literal["stored"] = "stored"
    """"stored"."""
    folder: Path
    """Path of its folder."""


class ShopFile(BaseModel):
    """What makes a shop what it is."""

    model_config = _RECORD

    schema_version: Literal[1] = 1
    """1."""
    source: Annotated[Generated | Official | Stored, Field(discriminator="kind")]
    """Where the products come from."""
    fingerprint: str
    """Fingerprint of the catalogue, which `open_shop` compares."""
    goals: GoalKind
    """Whose instructions the goals come from."""
    goals_seed: int
    """Seed of prices and price limits."""
    step_limit: int | None = Field(default=None, ge=1)
    """Number of steps after which episodes are truncated; None for no limit."""
    show_attributes: bool = False
    """Whether item pages offer the page of attributes."""
    long_pages: bool = False
    """Whether pages are long ones."""


def write_shop(path: Path, shop: Shop, source: Generated | Official | Stored) -> None:
    """Write down how a shop is made.

    Args:
        path: file to write, `shop.json` in a run.
        shop: the shop; its goals must be all that `build_goals` makes of its catalogue.
        source: where its products come from; relative paths are made absolute.

    Raises:
        OSError: the file cannot be written.
    """
    resolved = {name: value.resolve() if isinstance(value, Path) else value for name, value in source}
    content = ShopFile(
        source=type(source)(**resolved),
        fingerprint=shop.catalogue.fingerprint,
        goals=shop.goals.kind,
        goals_seed=shop.goals.seed,
        step_limit=shop.step_limit,
        show_attributes=shop.show_attributes,
        long_pages=shop.long_pages,
    )
    with atomic_file(path) as file:
        file.write(content.model_dump_json(indent=1).encode() + b"\n")


def open_shop(path: Path) -> Shop:
    """Make the shop that a file describes.

    Raises:
        CatalogueError: the file is missing or no such file, or its products are gone or have changed since.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CatalogueError(f"{path} is too large to say how a shop is made")
        described = ShopFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror}; it says how a run's shop is made") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise CatalogueError(f"{path}: field {where!r} is wrong: {first['msg']}") from None
    catalogue = _catalogue(described.source)
    if catalogue.fingerprint != described.fingerprint:
        raise CatalogueError(
            f"{path}: the products are others than when it was written (fingerprint {catalogue.fingerprint[:12]}, "
            f"not {described.fingerprint[:12]}); files may have changed, or the generator of this version differs"
        )
    goals = build_goals(catalogue, described.goals, described.goals_seed)
    return Shop(
        catalogue,
        goals,
        step_limit=described.step_limit,
        show_attributes=described.show_attributes,
        long_pages=described.long_pages,
    )


def _catalogue(source: Generated | Official | Stored) -> Catalogue:
    if isinstance(source, Generated):
        return Catalogue.generate(source.products, source.seed, long_texts=source.long_texts)
    if isinstance(source, Stored):
        return Catalogue.open(source.folder)
    return Catalogue.from_official(source.products, source.attributes, source.human, source.num_products)
