"""Product pictures, fetched from where the catalogue says and passed on: browsers never ask anyone but this server.

Addresses come from product data, which nobody vouches for. So only web addresses of public machines are asked, without
following them elsewhere, and only pictures of a bounded size are passed on, within a bounded time. Pages know nothing
of this: they show what `/pictures/ASIN` answers.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias
from urllib.parse import quote, urlsplit

from fastapi import Path as PathParameter
from fastapi import Response

from sightline.webshop_env.errors import WebShopError

if TYPE_CHECKING:
    from sightline.webshop_env.catalogue.catalogue import Catalogue

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_BYTES: Final = 2_000_000
SECONDS: Final = 8.0
"""For all of one picture."""

_AT_ONCE: Final = 8
_CHUNK: Final = 1 << 16
_KINDS: Final = frozenset(
    {"image/avif", "image/gif", "image/jpeg", "image/png", "image/webp"}
)  # none that holds scripts
_PORTS: Final = {"http": 80, "https": 443}
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses behind a translator, RFC 6052
_SAFE: Final = "/%:=&?~+!$,;'@()*-._"


class PictureError(WebShopError, LookupError):
    """There is no picture of a product, or it cannot be had."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What was fetched."""

    content: bytes
    """At most `MAX_BYTES`."""
    kind: str
    """Media type, a kind of picture."""


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, and not to this machine or the network it stands in."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or address in _TRANSLATED
    ):
        return False
    return address.is_global and not address.is_multicast


class Pictures:
    """Pictures of the products of a catalogue.

    Args:
        catalogue: products, whose `image` says where their picture is.
        may_reach: whether an address may be asked; only public ones by default.
    """

    def __init__(self, catalogue: Catalogue, may_reach: Callable[[Address], bool] = is_public) -> None:
        self._catalogue = catalogue
        self._may_reach = may_reach
        self._places = threading.BoundedSemaphore(_AT_ONCE)  # slow hosts must not take every thread of the server

    def address(self, asin: str) -> str:
        """Return where a page finds a product's picture on this server, or "" where the data has none."""
        has_one = asin in self._catalogue and self._catalogue[asin].image
        return f"/pictures/{quote(asin, safe='')}" if has_one else ""

    def show(self, asin: Annotated[str, PathParameter(max_length=255)]) -> Response:
        """Answer with a product's picture, which browsers may keep for a day.

        Raises:
            PictureError: there is none, or it cannot be had; says why.
        """
        if not self.address(asin):
            raise PictureError(f"there is no picture of the product {asin[:80]!r}")
        if not self._places.acquire(timeout=SECONDS):
            raise PictureError("too many pictures are being fetched; try again")
        try:
            picture = fetch(self._catalogue[asin].image, self._may_reach)
        finally:
            self._places.release()
        headers = {"cache-control": "private, max-age=86400"}
        return Response(picture.content, media_type=picture.kind, headers=headers)


def fetch(url: str, may_reach: Callable[[Address], bool] = is_public, seconds: float = SECONDS) -> Picture:
    """Fetch a picture.

    Args:
        url: where it is.
        may_reach: whether an address may be asked.
        seconds: time for all of it, in seconds.

    Raises:
        PictureError: the address is none of the web or may not be asked, or what it answers is no picture, too large
            or too late; redirects are not followed.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise PictureError(f"{url[:80]!r} is no web address") from None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        raise PictureError(f"{url[:80]!r} is no web address; one begins with http:// or https:// and the host")
    target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    try:
        connected = socket.create_connection((_checked(host, port, may_reach), port), timeout=seconds)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connected = context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
        with connected, _within(seconds, connected):
            return _ask(connected, host, parts.netloc, target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PictureError(f"the picture could not be had from {host[:80]!r}: {type(error).__name__}") from error


def _checked(host: str, port: int, may_reach: Callable[[Address], bool]) -> str:
    """Return an address of a host, all of whose addresses may be asked; what is returned is what gets connected to."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not all(may_reach(ipaddress.ip_address(each.partition("%")[0])) for each in addresses):
        raise PictureError(f"pictures are fetched from public machines only, and {host[:80]!r} is none")
    return addresses[0]


def _ask(connected: socket.socket, host: str, authority: str, target: str) -> Picture:
    if isinstance(connected, ssl.SSLSocket):
        connected.do_handshake()
    connection = http.client.HTTPConnection(host)
    connection.sock = connected  # so that nothing looks the name up again
    headers = {"Host": authority, "Accept": ", ".join(sorted(_KINDS)), "User-Agent": "sightline-webshop"}
    connection.request("GET", target, headers=headers)
    with connection.getresponse() as response:
        kind = response.headers.get_content_type()
        if response.status != http.HTTPStatus.OK or kind not in _KINDS:
            raise PictureError(f"{host[:80]!r} answers with {response.status} and {kind[:40]!r} instead of a picture")
        return Picture(_bounded(response), kind)


def _bounded(response: http.client.HTTPResponse) -> bytes:
    content = bytearray()
    while part := response.read1(_CHUNK):
        content += part
        if len(content) > MAX_BYTES:
            raise PictureError(f"the picture has more than {MAX_BYTES:,} bytes")
    if response.length:
        raise PictureError("the picture broke off")
    return bytes(content)


@contextmanager
def _within(seconds: float, connected: socket.socket) -> Generator[None]:
    """Hang up after some seconds: a host that sends byte after byte never runs into the time-out of a socket."""
    late = threading.Event()
    watch = threading.Timer(seconds, _hang_up, (connected, late))
    watch.start()
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError, PictureError):
        if not late.is_set():
            raise
    finally:
        watch.cancel()
    if late.is_set():
        raise PictureError(f"the picture took longer than {seconds:g} s")


def _hang_up(connected: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
