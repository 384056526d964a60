from __future__ import annotations

import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sightline.webshop_env import Catalogue, Shop
from sightline.webshop_env.server import pictures
from sightline.webshop_env.server.app import create_app
from sightline.webshop_env.server.pictures import PictureError, Pictures, fetch, is_public

PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def anyone(_: object) -> bool:
    return True


class Handler(BaseHTTPRequestHandler):
    """Serves something good and much that is bad."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        getattr(self, self.path.split("/")[1].split("?")[0])()

    def begin(self, status: int = 200, kind: str = "image/png", **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def good(self) -> None:
        self.begin(content_length=str(len(PIXEL)))
        self.wfile.write(PIXEL)

    def moved(self) -> None:
        self.begin(302, location="/good", content_length="0")

    def missing(self) -> None:
        self.begin(404, content_length="0")

    def script(self) -> None:
        self.begin(kind="image/svg+xml")
        self.wfile.write(b"<svg onload='alert(1)'/>")

    def page(self) -> None:
        self.begin(kind="text/html")
        self.wfile.write(b"<script>alert(1)</script>")

    def endless(self) -> None:
        self.begin()
        with suppress(OSError):  # until the other end hangs up
            while True:
                self.wfile.write(bytes(1 << 16))

    def slow(self) -> None:
        self.begin()
        with suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)

    def short(self) -> None:
        self.begin(content_length="1000")
        self.wfile.write(PIXEL)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (named so by the library)
        """Say nothing."""


class Host:
    """A web server on this machine."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        handler = type("Of", (Handler,), {"asked": self.asked})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.server.shutdown()
    host.server.server_close()


def test_a_picture_is_passed_on_as_it_is(host: Host) -> None:
    picture = fetch(f"{host.address}/good/a b.jpg?x=1&y=ü", anyone)
    assert (picture.content, picture.kind) == (PIXEL, "image/png")
    assert host.asked == ["/good/a%20b.jpg?x=1&y=%C3%BC"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("moved", "answers with 302"),
        ("missing", "answers with 404"),
        ("script", "image/svg"),
        ("page", "text/html"),
        ("endless", "more than 2,000,000 bytes"),
        ("short", "broke off"),
        ("slow", "longer than 0.5 s"),
    ],
)
def test_what_is_no_picture_or_too_much_of_one_is_refused(host: Host, path: str, why: str) -> None:
    with pytest.raises(PictureError, match=why):
        fetch(f"{host.address}/{path}", anyone, seconds=0.5 if path == "slow" else 8.0)
    assert host.asked == [f"/{path}"]


def test_this_machine_and_its_network_are_never_asked(host: Host) -> None:
    for name in (host.address, host.address.replace("127.0.0.1", "localhost"), "http://169.254.169.254/latest"):
        with pytest.raises(PictureError, match="public machines only"):
            fetch(name)
    assert host.asked == []


NO_WEB = """
file:///etc/passwd ftp://a/b.png javascript:alert(1) //a/b.png http:// http://[::1 a.png http://a:99999/b.png
http://someone@a/b.png data:image/png;base64,AAAA
"""
NEARBY = """
127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 0.0.0.0 100.64.0.1 224.0.0.1 255.255.255.255 ::1 :: fe80::1
fc00::1 ff02::1 ::ffff:127.0.0.1 2002:7f00:1:: 64:ff9b::7f00:1 2001:0:7f00:1::
"""


@pytest.mark.parametrize("url", ["", *NO_WEB.split()])
def test_only_web_addresses_are_asked(url: str) -> None:
    with pytest.raises(PictureError, match="no web address"):
        fetch(url, anyone)


@pytest.mark.parametrize("address", NEARBY.split())
def test_addresses_of_machines_nearby_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_addresses_of_the_internet_are_public() -> None:
    assert is_public(ipaddress.ip_address("93.184.216.34"))
    assert is_public(ipaddress.ip_address("2606:2800:220:1:248:1893:25c8:1946"))


def test_a_name_that_also_stands_for_a_machine_nearby_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 80)) for each in ("93.184.216.34", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(PictureError, match="public machines only"):
        fetch("http://two-faced.example/a.png")


def test_a_name_that_stands_for_nothing_and_a_port_without_server_are_explained() -> None:
    with pytest.raises(PictureError, match=r"could not be had from 'no-such-host\.invalid'"):
        fetch("http://no-such-host.invalid/a.png", anyone)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(PictureError, match="ConnectionRefused"):
            fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/a.png", anyone)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_a_certificate_must_be_that_of_the_host(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*made, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host.server.socket = context.wrap_socket(host.server.socket, server_side=True)
    secure = f"https://localhost:{host.server.server_port}"
    with pytest.raises(PictureError, match="SSLCertVerificationError"):
        fetch(f"{secure}/good", anyone)
    monkeypatch.setattr(ssl, "create_default_context", lambda make=ssl.create_default_context: make(cafile=certificate))
    assert fetch(f"{secure}/good", anyone).content == PIXEL
    with pytest.raises(PictureError, match="SSLCertVerificationError"):
        fetch(f"{secure.replace('localhost', '127.0.0.1')}/good", anyone)
    with pytest.raises(PictureError, match=r"longer than 0.5 s|could not be had"):
        fetch(f"{secure}/slow", anyone, seconds=0.5)


def open_shop(shop: Shop, image: str) -> Shop:
    """The shop with a picture of every product."""
    products = Catalogue.from_products([replace(product, image=image) for product in shop.catalogue])
    return Shop(products, shop.goals)


@pytest.mark.parametrize("on", [True, False])
def test_the_item_page_shows_a_picture_only_where_it_was_asked_for(shop: Shop, host: Host, on: bool) -> None:
    illustrated = open_shop(shop, f"{host.address}/good")
    shown = Pictures(illustrated.catalogue, anyone) if on else None
    browser = TestClient(create_app(illustrated, pictures=shown), base_url="http://localhost")
    browser.post("/play", data={"goal": 0})
    browser.post("/play/act", data={"step": 0, "words": "desk lamp"})
    page = browser.post("/play/act", data={"step": 1, "action": "click[b0lamp]"}).text
    assert ('<img src="/pictures/B0LAMP"' in page) is on
    answer = browser.get("/pictures/B0LAMP")
    assert answer.status_code == (200 if on else 404)
    if on:
        assert (answer.content, answer.headers["content-type"]) == (PIXEL, "image/png")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert browser.get("/pictures/B0NOTHING").status_code == 404
    assert len(host.asked) == on


def test_a_product_without_picture_keeps_its_tile(shop: Shop) -> None:
    plain = Pictures(open_shop(shop, "").catalogue)
    assert plain.address("B0LAMP") == ""
    with pytest.raises(PictureError, match="no picture of the product 'B0LAMP'"):
        plain.show("B0LAMP")


def test_slow_hosts_do_not_take_every_thread(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SECONDS", 0.05)
    full = Pictures(open_shop(shop, "http://a/b.png").catalogue)
    for _ in range(8):
        assert full._places.acquire(blocking=False)
    with pytest.raises(PictureError, match="too many pictures"):
        full.show("B0LAMP")
