"""Check all that the folder of a stored catalogue holds: products, search index and goals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sightline.webshop_env.catalogue.stored.writing import verify_store
from sightline.webshop_env.goals.columns import verify_goals

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue.official.reading import StrPath


def verify_catalogue(folder: StrPath) -> None:
    """Compare every byte of a stored catalogue, its search index and its goals with what was written.

    Raises:
        CatalogueError: names the first file that is damaged, cut short or missing.
    """
    path = Path(folder).resolve()
    verify_store(path)
    verify_goals(path)
