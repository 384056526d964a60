"""Says how far a long stream of products is. It knows nothing of where they come from or where they go."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

if TYPE_CHECKING:
    from sightline.webshop_env.product import Product

_SHOW_EVERY: Final = 1000
_LOG_EVERY: Final = 100_000


class Meter:
    """A progress bar on stderr where that is a terminal; elsewhere a line every 100,000 products. Use it in `with`.

    Args:
        task: what is being done.
        products: how many products there will be; None where only the share of bytes read tells how far it is.
    """

    def __init__(self, task: str, products: int | None = None) -> None:
        self._name = task
        self._total = products
        self._count = 0
        self._share = 0.0
        self._bytes = ""
        self._started = time.perf_counter()
        self._console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(task, total=1.0, detail="")

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def set_bytes(self, read: int, total: int) -> None:
        """Take the bytes read so far and the bytes in all."""
        self._bytes = f", {decimal(read)} of {decimal(total)}"
        if self._total is None:
            self._share = read / total if total else 0.0
        self._show()

    def watch(self, products: Iterable[Product]) -> Iterator[Product]:
        """Pass products on and count them; what takes them may have work left when there are no more."""
        for product in products:
            yield product
            self._count += 1
            if self._total is not None:
                self._share = self._count / self._total
            if self._count % _SHOW_EVERY == 0:
                self._show()
            if self._count % _LOG_EVERY == 0:
                self._log(self._detail())
        self._bar.update(self._task, completed=1.0, detail=f"{self._count:,} products; finishing")
        self._log(f"{self._count:,} products; finishing")

    def _show(self) -> None:
        self._bar.update(self._task, completed=self._share, detail=self._detail())

    def _log(self, text: str) -> None:
        if self._bar.disable:
            self._console.print(f"{self._name}: {text}")

    def _detail(self) -> str:
        elapsed = max(time.perf_counter() - self._started, 1e-6)
        left = f", {timedelta(seconds=round(elapsed / self._share - elapsed))} left" if self._share else ""
        return f"{self._count:,} products{self._bytes}, {self._count / elapsed:,.0f}/s{left}"
