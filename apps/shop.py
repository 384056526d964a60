"""Open the shop in a web browser: shop yourself, see what a reward is made of, and look into an agent's episodes.

    uv run apps/shop.py                             # a shop of generated products
    uv run apps/shop.py --run runs/phase2/default   # the shop of a run, and every episode that its agents played
    uv run apps/shop.py --catalogue FOLDER          # products that `sightline-webshop import` has read in
    uv run apps/shop.py --no-browser --port 8000    # only serve, for example on another machine

The page has undo and explains its rewards. A recorded episode can be scrubbed through and forked anywhere, to play on.
Nobody but this machine sees the page. Ctrl+C closes the shop. Any other flag goes to `sightline-webshop serve`, whose
own `--help` lists hosts, tokens, worker processes and limits.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
import urllib.request
import webbrowser
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from lab.settings import introduce

SECONDS_TO_OPEN = 60.0
"""How long the browser waits for the shop; a large catalogue takes some seconds."""


class ShopSettings(BaseModel):
    """Which shop is opened, and where."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    run: Path | None = None
    """Folder of an experiment's run, OUTPUT/APP/NAME: its shop is opened, and its episodes can be looked into."""
    catalogue: Path | None = None
    """Folder of a stored catalogue, as `sightline-webshop import` writes it."""
    products: int | None = Field(default=None, ge=1)
    """Products to make up where neither a run nor a catalogue is given; without it 1,000."""
    goals: Literal["human", "synthetic"] = "human"
    """Whose requests are to be met: human, as people put them, or synthetic."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port of this machine to serve on; 0 picks a free one."""
    browser: bool = True
    """Open the page in the browser as soon as the shop answers; the address is printed either way."""

    def serve_arguments(self) -> list[str]:
        """Return the arguments of `sightline-webshop serve`, but for the port."""
        words = ["--goals", self.goals]
        if self.run is not None:
            words += ["--run", str(self.run)]
        if self.products is not None:
            words += ["--products", str(self.products)]
        return words if self.catalogue is None else [*words, str(self.catalogue)]


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def open_when_ready(port: int) -> None:
    """Open the browser at the shop as soon as it answers; give up after a minute."""
    address = f"http://127.0.0.1:{port}/"
    here = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is not behind a proxy
    end = time.monotonic() + SECONDS_TO_OPEN
    while (left := end - time.monotonic()) > 0:
        try:
            here.open(address, timeout=left).close()
        except OSError:
            time.sleep(0.1)
        else:
            webbrowser.open(address)
            return


def main() -> int:
    """Serve the shop that the command line describes, and return the exit status."""
    introduce(__doc__, sys.argv[1:])
    settings, others = tyro.cli(ShopSettings, return_unknown_args=True)
    port = settings.port or free_port()
    if settings.browser:
        threading.Thread(target=open_when_ready, args=(port,), daemon=True).start()
    (program,) = entry_points(group="console_scripts", name="sightline-webshop")
    return program.load()(["serve", *settings.serve_arguments(), "--port", str(port), *others])


if __name__ == "__main__":
    sys.exit(main())
