"""A receiver of OTLP over HTTP, run as a process of its own: decodes what it is sent, and gives it back.

`POST /v1/traces` takes spans as a collector does; `GET /spans` returns all of them as JSON.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

__all__ = ["OtlpReceiver", "running_receiver"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpReceiver:
    """A running receiver, as tests use it."""

    port: int

    @property
    def endpoint(self) -> str:
        """Where spans are sent."""
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def spans(self) -> list[dict[str, Any]]:
        """Return what has come, in the order of their beginnings."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/spans", timeout=30) as answer:
            return sorted(json.load(answer), key=lambda span: span["began"])

    def wait_for(self, count: int, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """Return the spans once there are as many."""
        until = time.monotonic() + timeout_s
        while len(found := self.spans()) < count:
            assert time.monotonic() < until, found
            time.sleep(0.05)
        return found


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def decode(body: bytes) -> list[dict[str, Any]]:
    """Return the spans of a request."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return [
        _span(span) | {"resource": _attributes(resource.resource.attributes)}
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _span(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "kind": span.kind,
        "began": span.start_time_unix_nano,
        "ended": span.end_time_unix_nano,
        "status": span.status.code,
        "attributes": _attributes(span.attributes),
        "events": [
            {
                "name": event.name,
                "at": event.time_unix_nano,
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ],
    }


class _Handler(BaseHTTPRequestHandler):
    spans: ClassVar[list[dict[str, Any]]] = []

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        taken = self.path == "/v1/traces"
        if taken:
            token = self.headers.get("x-token")
            self.spans.extend(span | {"token": token} for span in decode(body))
        self._answer(200 if taken else 404, b"")

    def do_GET(self) -> None:
        self._answer(200, json.dumps(self.spans).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def running_receiver() -> Iterator[OtlpReceiver]:
    """Run the receiver in a process of its own, and stop it at the end."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield OtlpReceiver(port=int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


def main() -> None:
    """Receive until standard input closes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
