"""What holds for every test of every package: threads, deadlines, time-outs, and skips where an extra is missing."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import re
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

# One thread of computation, as several test processes share the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Seconds a test may take before it is stopped (read by pytest-timeout): an endless loop must not block CI.
os.environ.setdefault("PYTEST_TIMEOUT", "600")
SLOW_TEST_SECONDS = 3 * 3600
# Read when ray is imported, by whichever test comes first: under `uv run`, Ray would pack the repository and build its
# environment once more for its workers.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

# While tests are collected next to nothing becomes garbage, and looking for it takes a fifth of the time.
gc.disable()

if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    # A deadline measures how busy the machine is, not whether the code is right.
    settings.register_profile("sightline", deadline=None)
    settings.load_profile("sightline")

DISTRIBUTIONS = {"sklearn": "scikit-learn", "Stemmer": "pystemmer", "yaml": "pyyaml", "multipart": "python-multipart"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give slow tests the time they need."""
    for item in items if config.pluginmanager.hasplugin("timeout") else ():
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TEST_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect garbage from here on, but only what tests leave: what was imported stays and is never looked at."""
    if importlib.util.find_spec("hypothesis"):
        from hypothesis import find, settings, strategies

        # At its first use it looks who holds its random generator, and what is frozen is not seen to hold anything.
        find(strategies.none(), lambda _: True, settings=settings(database=None))
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


def pytest_sessionfinish() -> None:
    """Let what was imported be collected when the process ends, or libraries written in C++ report it as leaked."""
    gc.unfreeze()


class ModuleOfTests(pytest.Module):
    """A module of tests that is skipped, with the extra's name, where it imports what an extra would bring."""

    def _getobj(self) -> object:
        try:
            return super()._getobj()
        except self.CollectError as error:
            if reason := missing_extra(error, self.path):
                pytest.skip(reason, allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Collect every module of tests as one that knows what a missing extra is."""
    return ModuleOfTests.from_parent(parent, path=module_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Skip a test whose fixtures use a name whose extra is not installed."""
    with skipped_without_extra(item.path):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Skip a test that uses a name whose extra is not installed, and take back what a command sets for its logging."""
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        with skipped_without_extra(item.path):
            return (yield)
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


@contextmanager
def skipped_without_extra(test: Path) -> Generator[None]:
    """Turn the error that a library is not installed into a skip that says which extra brings it."""
    try:
        yield
    except ImportError as error:
        if reason := missing_extra(error, test):
            pytest.skip(reason)
        raise


def missing_extra(error: BaseException, test: Path) -> str | None:
    """Return why a test cannot run, if the error says that a library is not installed which is none of ours."""
    cause: BaseException | None = error
    while cause is not None:
        root = (
            (cause.name or "").split(".")[0] if isinstance(cause, ModuleNotFoundError) and cause.name else "sightline"
        )
        if root != "sightline" and importlib.util.find_spec(root) is None:
            return f"{root} is not installed{extra_with(root, test)}"
        cause = cause.__cause__ or cause.__context__
    return None


def extra_with(module: str, test: Path) -> str:
    """Return the extra that brings a module, in words; nothing where no extra of the tested package does."""
    package = test.parts[test.parts.index("packages") + 1] if "packages" in test.parts else None
    name = DISTRIBUTIONS.get(module, module).replace("_", "-").lower()
    for requirement in requires(f"sightline-{package}") or [] if package else []:
        found = re.match(rf"{re.escape(name)}\b.*extra == ['\"](.+)['\"]", requirement.replace("_", "-").lower())
        if found and found.group(1) != "all":
            return f"; the extra {found.group(1)!r} of sightline-{package} brings it"
    return ""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Yield the Ray engine, on a cluster of two CPUs that all tests of a session share."""
    import ray

    from sightline.agents.rollout.ray import RayEngine

    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        if not ray.is_initialized():
            quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
            ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, **quiet)
        gc.collect()  # Ray leaves the streams and processes that it starts to the garbage collector
    yield RayEngine
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        ray.shutdown()
        gc.collect()
