"""Products from tables: CSV and Parquet files and Hugging Face data sets, by a mapping of columns to fields.

A row becomes the record of the official files that says the same, and goes through all of their loading rules, so that
faults are named alike. What a record means is not known here.
"""

from __future__ import annotations

import csv
import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightline.webshop_env.catalogue.official.faults import RecordError, SkippedRecords, fail
from sightline.webshop_env.catalogue.official.json_stream import shown
from sightline.webshop_env.catalogue.official.records import parse_product
from sightline.webshop_env.errors import CatalogueError

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue.official.reading import StrPath
    from sightline.webshop_env.product import Product

Row = Mapping[str, Any]
"""Column -> value; None, NaN and "" stand for nothing."""

TextField = Literal["asin", "title", "description", "price", "category", "query", "product_category", "image"]
ListField = Literal["bullets", "attributes"]
ProductField = Literal[
    "asin", "title", "description", "price", "category", "query", "product_category", "image", "bullets", "attributes"
]
RequestField = Literal["text", "attributes", "options"]

_LONGEST_ASIN: Final = 10
_LONGEST_CELL: Final = 1 << 24
_BATCH: Final = 1024
_NUMBER: Final = re.compile(r"\d[\d,]*(?:\.\d+)?")
_MAPPING: Final = ConfigDict(frozen=True, extra="forbid")


class TableMapping(BaseModel):
    """Which columns of a table say what of a product."""

    model_config = _MAPPING

    columns: dict[ProductField, str]
    """Field of a product -> column. `title` is needed. Without `asin` rows are numbered; `price` is a number of dollars
    or a text with one price or the two ends of a range."""
    options: dict[str, str] = Field(default_factory=dict)
    """Name of an option group -> column of its values."""
    request: dict[RequestField, str] = Field(default_factory=dict)
    """Parts of a request that a person wrote for the product -> column; `text` is needed."""
    constants: dict[TextField, str] = Field(default_factory=dict)
    """Field -> the same text for all products, for fields without a column."""
    separators: dict[str, str] = Field(default_factory=dict)
    """Column -> what separates the values of a list in a text, such as "|"; columns of lists need none."""

    def used(self) -> tuple[str, ...]:
        """Return every column that the mapping names, each once."""
        named = chain(self.columns.values(), self.options.values(), self.request.values(), self.separators)
        return tuple(dict.fromkeys(named))


def read_mapping(path: StrPath) -> TableMapping:
    """Read a mapping from a TOML file, whose tables are the attributes of `TableMapping`.

    Raises:
        CatalogueError: there is no such file, it is no TOML, or says something else than it should; names the key.
    """
    path = Path(path)
    try:
        mapping = TableMapping.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogueError(f"{path}: cannot be read as TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise CatalogueError(f"{path}: {key}: {first['msg']}, but found {shown(first['input'])}") from None
    for table, needed in (("columns", "title"), ("request", "text")):
        given = getattr(mapping, table)
        if needed not in given and not (table == "request" and not given) and "title" not in mapping.constants:
            raise CatalogueError(f"{path}: [{table}] needs {needed!r}, the column of that name's content")
    return mapping


def read_table(
    source: StrPath | Iterable[Row], mapping: TableMapping | StrPath, skipped: SkippedRecords | None = None
) -> Iterator[Product]:
    """Read products from a table, row by row.

    Args:
        source: a `.csv` or `.parquet` file, a folder that a Hugging Face data set was saved to, or rows, such as an
            open data set.
        mapping: mapping of columns, or the file that has it.
        skipped: takes the rows that are wrong, which are left out then; without it the first one is an error.

    Raises:
        CatalogueError: the table cannot be read, or has not the columns of the mapping; a row says something else than
            it should, names row and field; or two products have one asin. All are raised by the iterator.
    """
    mapping = mapping if isinstance(mapping, TableMapping) else read_mapping(mapping)
    name = str(source) if isinstance(source, str | os.PathLike) else "the rows"
    rows = _rows(Path(source), mapping.used()) if isinstance(source, str | os.PathLike) else source
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if number == 1:
            _check_columns(name, mapping.used(), list(row))
        try:
            product = _product(mapping, row, number, f"{name}: row {number}")
            if product.asin in seen:
                fail(f"{name}: row {number}", "asin", product.asin, "an asin that no row before it has")
        except RecordError as error:
            if skipped is None:
                raise
            skipped.add(error)
        else:
            seen.add(product.asin)
            yield product
    if skipped is not None:
        skipped.check()
    if not seen:
        raise CatalogueError(f"{name}: holds no product")


def _rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    if path.is_dir():
        return _dataset_rows(path)
    if path.suffix.lower() == ".csv":
        return _csv_rows(path)
    if path.suffix.lower() == ".parquet":
        return _parquet_rows(path, columns)
    raise CatalogueError(f"{path}: expected a .csv or .parquet file, or a folder with a saved data set")


def _csv_rows(path: Path) -> Iterator[Row]:
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                # Cells without a column stand under None, columns without a cell hold None.
                if None in row or None in row.values():
                    raise CatalogueError(f"{path}, line {reader.line_num}: has more or fewer cells than the first line")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogueError(f"{path}: cannot be read as CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            "Parquet needs PyArrow; install it with: pip install 'sightline-webshop-env[tables]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(str(path), columns, file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH, columns=list(columns)):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise CatalogueError(f"{path}: cannot be read as Parquet: {error}") from None


def _dataset_rows(path: Path) -> Iterator[Row]:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            "saved data sets need the library `datasets`; install it with: pip install 'sightline-webshop-env[tables]'"
        ) from error
    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path}: is no saved data set: {error}") from None
    if isinstance(saved, datasets.DatasetDict):
        raise CatalogueError(
            f"{path}: holds several splits ({', '.join(map(str, saved))}); name the folder of one of them"
        )
    yield from saved


def _check_columns(name: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    for column in wanted:
        if column not in there:
            near = difflib.get_close_matches(column, there, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(repr, there[:20]))}"
            raise CatalogueError(f"{name}: has no column {column!r}; {hint}")


def _product(mapping: TableMapping, row: Row, number: int, where: str) -> Product:
    cells = _Cells(mapping, row, where)
    asin = cells.text("asin").upper() or f"T{number:0{_LONGEST_ASIN - 1}}"
    if len(asin) > _LONGEST_ASIN:
        fail(where, "asin", asin, f"at most {_LONGEST_ASIN} characters, or no column for it: rows are numbered then")
    title = cells.text("title")
    if not title:
        fail(where, "title", title, "the name of a product")
    record = {
        "asin": asin,
        "name": title,
        "full_description": cells.text("description"),
        "small_description": cells.texts("bullets"),
        "pricing": _pricing(cells.value("price"), where),
        "category": cells.text("category"),
        "query": cells.text("query") or cells.text("category"),
        "product_category": cells.text("product_category") or cells.text("category"),
        "images": [cells.text("image")],
        "customization_options": {
            group: [{"value": value} for value in values]
            for group, column in mapping.options.items()
            if (values := cells.listed(column))
        },
    }
    annotation = {"attributes": cells.texts("attributes")} if "attributes" in mapping.columns else {}
    text = cells.at(mapping.request.get("text"))
    wishes = {
        f"instruction_{part}": cells.listed(mapping.request[part])
        for part in get_args(RequestField)[1:]
        if part in mapping.request
    }
    instructions = [] if text is None else [{"instruction": text, **wishes}]
    noted, wished = f"{where}, attributes", f"{where}, request"
    return parse_product(asin, record, annotation, instructions, where=where, annotated=noted, instructed=wished)


class _Cells:
    """The cells of one row, by field or column."""

    def __init__(self, mapping: TableMapping, row: Row, where: str) -> None:
        self._mapping = mapping
        self._row = row
        self._where = where

    def at(self, column: str | None) -> Any:
        """Return what a column holds; None for nothing."""
        value = None if column is None else self._row.get(column)
        return None if value in (None, "") or (isinstance(value, float) and math.isnan(value)) else value

    def value(self, field: TextField) -> Any:
        value = self.at(self._mapping.columns.get(field))
        return self._mapping.constants.get(field) if value is None else value

    def text(self, field: TextField) -> str:
        value = self.value(field)
        if value is None or isinstance(value, str):
            return (value or "").strip()
        if isinstance(value, bool) or not isinstance(value, int | float):
            fail(self._where, field, value, "a text or a number")
        return str(value)

    def texts(self, field: ListField) -> list[Any]:
        column = self._mapping.columns.get(field)
        return [] if column is None else self.listed(column)

    def listed(self, column: str) -> list[Any]:
        """Return the values of a list, or of a text that the column's separator divides."""
        value = self.at(column)
        if value is None:
            return []
        if isinstance(value, str):
            separator = self._mapping.separators.get(column)
            parts = [value] if separator is None else value.split(separator)
            return [part.strip() for part in parts if part.strip()]
        if not isinstance(value, list | tuple):
            value = [value]
        return [str(each) if isinstance(each, int | float) else each for each in value if each is not None]


def _pricing(value: Any, where: str) -> str:
    """Return a price as the official files spell it; "" for none."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        fail(where, "price", value, "a number of dollars, or a text such as '5.00 - 9.50'")
    if not isinstance(value, str):
        if not math.isfinite(value) or value < 0:
            fail(where, "price", value, "a number of dollars that is not negative")
        return f"${value:.2f}"
    found = _NUMBER.findall(value)
    if not 1 <= len(found) <= 2:
        fail(where, "price", value, "one price or the two ends of a range")
    return " - ".join(f"${number}" for number in found)
