"""What worker processes of the tests do; they import it by its name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from sightline.retrieval.jsonl import DurableLines


def count(file: Path, to: int, pause: float = 0.0) -> None:
    lines = DurableLines(file)
    for number in range(lines.cut(), to):
        lines.append(str(number).encode())
        time.sleep(pause)


def sum_up(numbers: Path, file: Path) -> None:
    DurableLines(file).append(str(sum(int(line) for _, line in DurableLines(numbers).read())).encode())


def fail(file: Path) -> None:
    raise ValueError(f"no {file.name} today")


def greet(file: Path) -> None:
    DurableLines(file).append(b"hello")


def tell_process(file: Path) -> None:
    DurableLines(file).append(str(os.getpid()).encode())


def die(file: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def threads(file: Path) -> None:
    import torch

    DurableLines(file).append(str(torch.get_num_threads()).encode())
