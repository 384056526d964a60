"""A Pinecone index as its data plane is documented to answer, on a local port; for the tests of `PineconeBackend`.

Written after Pinecone's published API and the response types of its client; no answer of the service itself is in it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np


class PineconeService:
    """Keeps records in memory, what was said in `conversation`, and fails on request."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.namespaces: dict[str, dict[str, dict]] = {}
        self.conversation: list[dict] = []
        self.failures: list[int] = []
        self.silent = False
        self.released = threading.Event()

    def answer(self, method: str, path: str, body: dict) -> tuple[int, dict]:
        if self.failures:
            status = self.failures.pop(0)
            return status, {"code": status, "message": f"injected {status}", "details": []}
        name = body.get("namespace", "")
        records = self.namespaces.get(name, {})
        match method, path:
            case "POST", "/describe_index_stats":
                counts = {key or "__default__": {"vectorCount": len(value)} for key, value in self.namespaces.items()}
                total = sum(entry["vectorCount"] for entry in counts.values())
                stats = {"dimension": self.dimension, "indexFullness": 0.0, "totalVectorCount": total}
                return 200, {"namespaces": counts, **stats, "metric": "cosine", "vectorType": "dense"}
            case "POST", "/vectors/upsert":
                assert len(body["vectors"]) <= 1000
                for vector in body["vectors"]:
                    check_metadata(vector["metadata"])
                self.namespaces.setdefault(name, {}).update({vector["id"]: vector for vector in body["vectors"]})
                return 200, {"upsertedCount": len(body["vectors"])}
            case "POST", "/query":
                assert 1 <= body["topK"] <= 10_000
                matches: list[dict[str, Any]] = [
                    {"id": key, "score": cosine(body["vector"], record["values"]), "values": []}
                    | {"metadata": record["metadata"]}
                    for key, record in records.items()
                    if native_holds(body.get("filter", {}), record["metadata"])
                ]
                matches.sort(key=lambda match: match["score"], reverse=True)
                return 200, {"matches": matches[: body["topK"]], "namespace": name, "usage": {"readUnits": 1}}
            case "GET", "/vectors/fetch":
                found = {key: records[key] for key in body["ids"] if key in records}
                return 200, {"vectors": found, "namespace": name, "usage": {"readUnits": 1}}
            case "POST", "/vectors/delete":
                if name not in self.namespaces:
                    return 404, {"code": 5, "message": "Namespace not found", "details": []}
                for key in body["ids"]:
                    records.pop(key, None)
                return 200, {}
        return 404, {"code": 5, "message": f"no {method} {path}", "details": []}


def check_metadata(metadata: dict) -> None:
    assert len(json.dumps(metadata, ensure_ascii=False).encode()) <= 40_960
    for key, value in metadata.items():
        assert not key.startswith("$")
        assert isinstance(value, (str, int, float)) or all(isinstance(element, str) for element in value)


def native_holds(chosen: dict, metadata: dict) -> bool:
    def passes(key: str, wanted: Any) -> bool:
        if key in ("$and", "$or"):
            return (all if key == "$and" else any)(native_holds(part, metadata) for part in wanted)
        value = metadata.get(key)
        ((operator, operand),) = wanted.items()
        if operator == "$in":
            return any(element in operand for element in (value if isinstance(value, list) else [value]))
        return value is not None and {"$lte": value <= operand, "$gte": value >= operand}[operator]

    return all(passes(key, wanted) for key, wanted in chosen.items())


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: PineconeService

    def do_POST(self) -> None:
        self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}"))

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        self.reply({"ids": asked.get("ids", []), "namespace": asked.get("namespace", [""])[0]})

    def reply(self, body: dict) -> None:
        if self.service.silent:
            self.close_connection = True
            self.service.released.wait(10.0)
            return
        path = urlsplit(self.path).path
        status, answer = self.service.answer(self.command, path, body)
        request = {"method": self.command, "path": path, "body": body}
        self.service.conversation.append({"request": request, "response": {"status": status, "body": answer}})
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


@contextmanager
def serving(service: PineconeService) -> Generator[str]:
    handler = type("BoundHandler", (Handler,), {"service": service})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
