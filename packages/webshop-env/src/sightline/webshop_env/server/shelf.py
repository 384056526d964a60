"""The trajectory files that the viewer offers: those of one folder, and a few that people uploaded.

Whatever a request names is looked up here, and nothing outside the folder is ever opened. Nothing here knows of HTTP.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from sightline.webshop_env.episodes.recording import Recording, RecordingError, read_recordings, write_recordings
from sightline.webshop_env.errors import WebShopError

SUFFIX: Final = ".jsonl"
MAX_UPLOADS: Final = 4
EPISODES_PER_PAGE: Final = 50
_MAX_LISTED: Final = 500
_HEAD_BYTES: Final = 400


class ShelfError(WebShopError, LookupError):
    """A trajectory file or an episode that was asked for is not there, or cannot be kept."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file on the shelf; `size` in bytes, `changed` in seconds since 1970."""

    name: str
    size: int
    changed: float


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some episodes of a file."""

    first: int
    """Number of the first one, from 0."""
    recordings: tuple[Recording, ...]
    """At most `EPISODES_PER_PAGE`, in file order."""
    more: bool
    """Whether others follow."""
    problem: str | None
    """Why reading stopped early; None where it did not."""


class Shelf:
    """Finds, reads and keeps trajectory files.

    Args:
        folder: folder whose files are offered and where episodes are saved; None for uploads only.
        run: folder of an experiment's run, whose recorded episodes (`stages/STAGE/NAME.jsonl`) are offered, too, as
            `STAGE.NAME.jsonl`; None for none.
    """

    def __init__(self, folder: Path | None, run: Path | None = None) -> None:
        self.folder = folder
        self._run = run
        self._uploads: OrderedDict[str, Path] = OrderedDict()
        self._upload_folder: Path | None = None
        self._lock = threading.Lock()

    def entries(self) -> list[Entry]:
        """Return the run's files in the order of its stages, then the folder's, the latest first, at most 500."""
        return (self._run_entries() + self._folder_entries())[:_MAX_LISTED]

    def _run_entries(self) -> list[Entry]:
        entries = []
        for name, path in sorted(self._run_files().items()):
            with suppress(FileNotFoundError):
                status = path.stat()
                entries.append(Entry(name, status.st_size, status.st_mtime))
        return entries

    def _run_files(self) -> dict[str, Path]:
        """Return name -> path of the recorded episodes of the run."""
        if self._run is None:
            return {}
        found = (path for path in (self._run / "stages").glob(f"*/*{SUFFIX}") if _holds_recordings(path))
        return {f"{path.parent.name}.{path.name}": path for path in found}

    def _recorded(self, name: str) -> Path | None:
        """Return the run's file of this name, without looking at all the others."""
        if self._run is None or "\0" in name or Path(name).name != name or not name.endswith(SUFFIX):
            return None
        for position in (place for place, character in enumerate(name) if character == "."):
            stage, file = name[:position], name[position + 1 :]
            path = self._run / "stages" / stage / file
            if stage.strip(".") and file != SUFFIX[1:] and _holds_recordings(path):
                return path
        return None

    def _folder_entries(self) -> list[Entry]:
        if self.folder is None or not self.folder.is_dir():
            return []
        found = []
        for path in self.folder.iterdir():
            # A file may vanish while we look.
            with suppress(FileNotFoundError):
                if not self._is_ours(path.name):
                    continue
                status = path.stat()
                found.append(Entry(path.name, status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: (-entry.changed, entry.name))[:_MAX_LISTED]

    def excerpt(self, name: str, first: int) -> Excerpt:
        """Read a page's worth of episodes; a line that is no recording ends it, with what was read before.

        Raises:
            ShelfError: there is no such file.
        """
        path = self._find(name)
        recordings: list[Recording] = []
        problem = None
        try:
            for recording in islice(read_recordings(path), first, first + EPISODES_PER_PAGE + 1):
                recordings.append(recording)  # noqa: PERF402  (what was read before an error is kept)
        except RecordingError as error:
            problem = _without_folder(error, path)
        return Excerpt(first, tuple(recordings[:EPISODES_PER_PAGE]), len(recordings) > EPISODES_PER_PAGE, problem)

    def episode(self, name: str, number: int) -> Recording:
        """One episode of a file, numbered from 0.

        Raises:
            ShelfError: there is no such file or episode.
            RecordingError: a line up to there is no recording.
        """
        path = self._find(name)
        status = path.stat()
        try:
            recording = _episode(path, number, status.st_mtime_ns, status.st_size)
        except RecordingError as error:
            raise RecordingError(_without_folder(error, path)) from None
        if recording is None:
            raise ShelfError(f"{name!r} has no episode {number}; they are numbered from 0")
        return recording

    def save(self, goal: int, make: Callable[[str], Recording]) -> str:
        """Keep an episode in a file of its own in the folder, whole or not at all; no file is ever replaced.

        Args:
            goal: number of its goal, for the name.
            make: makes the recording from its episode id.

        Returns:
            The file's name.

        Raises:
            ShelfError: there is no folder, or it cannot be written.
        """
        if self.folder is None:
            raise ShelfError("there is no folder to save in; start the server with --trajectories FOLDER")
        moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        episode_id = f"person-goal-{goal}-{moment}-{secrets.token_hex(3)}"
        temporary = self.folder / f".{episode_id}{SUFFIX}"
        recording = make(episode_id)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_recordings(temporary, [recording])
            # Unlike a rename, a link fails where the name is taken.
            os.link(temporary, self.folder / f"{episode_id}{SUFFIX}")
        except OSError as error:
            raise ShelfError(
                f"the episode could not be saved ({error.strerror}); the episode itself goes on"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        return f"{episode_id}{SUFFIX}"

    def upload(self, content: BinaryIO) -> str:
        """Keep a file until `MAX_UPLOADS` others were uploaded or the process ends.

        Returns:
            The name to ask for it by; nobody can guess it.

        Raises:
            ShelfError: it could not be kept.
        """
        name = f"upload-{secrets.token_urlsafe(12)}{SUFFIX}"
        try:
            path = self._folder_of_uploads() / name
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
        except OSError as error:
            raise ShelfError(f"the upload could not be kept: {error.strerror}") from error
        with self._lock:
            self._uploads[name] = path
            if len(self._uploads) > MAX_UPLOADS:
                _, oldest = self._uploads.popitem(last=False)
                oldest.unlink(missing_ok=True)
        return name

    def _folder_of_uploads(self) -> Path:
        with self._lock:
            if self._upload_folder is None:
                self._upload_folder = Path(tempfile.mkdtemp(prefix="sightline-uploads-"))
                # Also runs when the process ends.
                weakref.finalize(self, shutil.rmtree, self._upload_folder, ignore_errors=True)
            return self._upload_folder

    def _find(self, name: str) -> Path:
        with self._lock:
            uploaded = self._uploads.get(name)
        if uploaded is not None:
            return uploaded
        if (recorded := self._recorded(name)) is not None:
            return recorded
        if self.folder is None or not self._is_ours(name):
            raise ShelfError(f"there is no trajectory file {name[:80]!r}")
        return self.folder / name

    def _is_ours(self, name: str) -> bool:
        """Whether a name is that of a visible trajectory file that really lies in the folder, links followed."""
        if self.folder is None or "\0" in name or Path(name).name != name:
            return False
        if name.startswith(".") or not name.endswith(SUFFIX):
            return False
        try:
            path = (self.folder / name).resolve(strict=True)
            return path.parent == self.folder.resolve() and path.is_file()
        except (OSError, RuntimeError, UnicodeError):
            return False


def _holds_recordings(path: Path) -> bool:
    """Tell by its beginning whether a file holds recorded episodes rather than other lines of JSON."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):  # a name that no file can have, too
        return False
    return head.startswith(b'{"schema_version"') and b'"episode_id"' in head and b'"goal"' in head


@lru_cache(maxsize=4)
def _episode(path: Path, number: int, changed: int, size: int) -> Recording | None:
    """One episode, or None; a file that has changed is another entry of the cache."""
    return next(islice(read_recordings(path), number, None), None)


def _without_folder(error: RecordingError, path: Path) -> str:
    return str(error).replace(str(path), path.name)
