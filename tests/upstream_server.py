"""A scriptable model server for tests, run as a process of its own.

The first segment of the path says how it behaves: `POST /html/v1/chat/completions` answers HTML.
`GET /seen` returns what it has been asked, and `GET /open` the number of open connections, so that
tests can check what really arrived.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.upstream_streams import StreamBehaviours

__all__ = ["UpstreamServer", "completion", "running_server"]

_REFUSES_TOP_LOGPROBS_ABOVE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamServer:
    """A running server, as tests use it."""

    port: int
    scheme: str = "http"

    def url(self, behaviour: str) -> str:
        """Return the base URL under which the server behaves so."""
        return f"{self.scheme}://127.0.0.1:{self.port}/{behaviour}/v1"

    def seen(self, behaviour: str) -> list[dict[str, Any]]:
        """Return the requests made under `behaviour`: `path`, `headers`, `body`, `connection`."""
        return [r for r in self._get("seen") if r["path"].startswith(f"/{behaviour}/")]

    def open_connections(self, behaviour: str) -> int:
        """Return how many connections that asked for `behaviour` are open."""
        return int(self._get("open").get(behaviour, 0))

    def wait_until_closed(self, behaviour: str, timeout_s: float = 15.0) -> bool:
        """Return whether every connection that asked for `behaviour` is closed within the time."""
        until = time.monotonic() + timeout_s
        while self.open_connections(behaviour):
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{what}", timeout=30) as answer:
            return json.load(answer)


def completion(text: str | None = "lead", **message: Any) -> dict[str, Any]:
    """Return a chat completion with two tokens of log-probabilities."""
    return {
        "model": "served-model",
        "choices": [
            {
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": "stop",
                "logprobs": {
                    "content": [
                        _token("le", -0.1, [-0.1, -2.5]),
                        _token("ad", -0.2, [-0.2, -1.75]),
                    ]
                },
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }


def _token(token: str, logprob: float, top: list[float]) -> dict[str, Any]:
    others = [{"token": "x", "logprob": value, "bytes": [120]} for value in top]
    return {
        "token": token,
        "logprob": logprob,
        "bytes": list(token.encode()),
        "top_logprobs": others,
    }


def without_logprobs() -> dict[str, Any]:
    """Return a chat completion as servers without log-probabilities send it."""
    answer = completion()
    del answer["choices"][0]["logprobs"]
    return answer


def without_usage() -> dict[str, Any]:
    """Return a chat completion whose usage is missing."""
    answer = completion()
    del answer["usage"]
    return answer


_TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weigh", "arguments": '{"metal": "lead"}'},
}

_ANTHROPIC = {
    "type": "message",
    "model": "claude-served",
    "content": [{"type": "text", "text": "lead"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 2},
}

_USED_UP = {
    "X-RateLimit-Remaining-Requests": "0",
    "X-RateLimit-Reset-Requests": "1m30s",
    "X-RateLimit-Remaining-Tokens": "149984",
    "X-RateLimit-Reset-Tokens": "6m0s",
}

_ERROR = {
    "error": {"message": "SECRET-WORDS", "type": "invalid_request_error", "code": "bad_thing"}
}


def json_answers() -> dict[str, tuple[int, dict[str, str], Any]]:
    """Return status, headers and JSON of every behaviour that is no more than that."""
    rate = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}
    return {
        "ok": (200, {}, completion()),
        "no-choices": (200, {}, {"model": "m", "choices": []}),
        "tool-calls": (200, {}, completion(None, tool_calls=[_TOOL_CALL])),
        "no-usage": (200, {}, without_usage()),
        "no-logprobs": (200, {}, without_logprobs()),
        "anthropic": (200, {}, _ANTHROPIC),
        "overloaded": (529, {}, {"type": "error", "error": {"type": "overloaded_error"}}),
        "rate-limit": (429, {"Retry-After": "2"}, rate),
        "used-up": (200, _USED_UP, completion()),
        "used-up-429": (429, _USED_UP, rate),
        "anthropic-used-up": (
            200,
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2999-01-01T00:00:00Z",
            },
            _ANTHROPIC,
        ),
        "unauthorized": (401, {}, {"error": {"code": "invalid_api_key", "message": "wrong"}}),
        "bad-request": (400, {}, _ERROR),
        "server-error": (500, {}, {"error": {"type": "server_error", "message": "oops"}}),
        "redirect": (307, {"Location": "/ok/v1/chat/completions"}, {}),
    }


class _Handler(StreamBehaviours, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a chunk leaves when it is written
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.behaviour = ""
        self.count = 0

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.server.note_closed(self.behaviour)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._send(200, {}, self.server.seen if self.path == "/seen" else self.server.open)

    def do_POST(self) -> None:
        if self.path.startswith("/reads-slowly/"):
            time.sleep(0.3)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.count += 1
        first = self.count == 1
        behaviour = self.path.split("/")[1]
        if first:
            self.behaviour = behaviour
            self.server.note_opened(behaviour)
        self.server.note_seen(self.path, dict(self.headers), body, self.client_address[1])
        known = json_answers().get(behaviour)
        if known is not None:
            self._send(*known)
        else:
            getattr(self, "behave_" + behaviour.replace("-", "_"))(json.loads(body), first)

    def _send(self, status: int, headers: dict[str, str], answer: Any) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        """Cut the connection with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def behave_html(self, _: Any, __: bool) -> None:
        page = b"<!DOCTYPE html><html><body>SECRET-WORDS</body></html>"
        self._send(200, {"Content-Type": "text/html"}, page)

    def behave_half_json(self, _: Any, __: bool) -> None:
        self._send(200, {}, json.dumps(completion()).encode()[:200])

    def behave_hang(self, _: Any, __: bool) -> None:
        self.connection.settimeout(30)
        with contextlib.suppress(OSError):
            self.rfile.read(1)  # until the client closes

    def behave_hang_in_body(self, _: Any, first: bool) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        self.behave_hang(_, first)

    def behave_late(self, _: Any, __: bool) -> None:
        """Answer after a while, an interim answer first."""
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        time.sleep(0.15)
        self._send(200, {}, completion())

    def behave_drip(self, _: Any, __: bool) -> None:
        """Answer in pieces, each soon after the one before, all together slowly."""
        body = json.dumps(completion()).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for i in range(0, len(body), 80):
            time.sleep(0.03)
            self.wfile.write(body[i : i + 80])

    def behave_reads_slowly(self, _: Any, __: bool) -> None:
        """Answer at once; `do_POST` has taken its time to read."""
        self._send(200, {}, completion())

    def behave_reset(self, _: Any, __: bool) -> None:
        self._reset()

    def behave_cut_in_body(self, _: Any, __: bool) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        self._cut()

    def behave_not_http(self, _: Any, __: bool) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.9 SECRET-WORDS\r\n\r\n")
        self._cut()

    def behave_bad_gzip(self, _: Any, __: bool) -> None:
        self._send(200, {"Content-Encoding": "gzip"}, b"this is not gzip at all")

    def behave_gzip(self, _: Any, __: bool) -> None:
        self._send(
            200, {"Content-Encoding": "gzip"}, gzip.compress(json.dumps(completion()).encode())
        )

    def behave_gzip_bomb(self, _: Any, __: bool) -> None:
        self._send(200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 3_000_000))

    def behave_large(self, _: Any, __: bool) -> None:
        self._send(200, {}, b" " * 3_000_000)

    def behave_chunked(self, _: Any, __: bool) -> None:
        body = json.dumps(completion()).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (body[:50], body[50:]):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def behave_interim(self, _: Any, __: bool) -> None:
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        self._send(200, {}, completion())

    def behave_until_close(self, _: Any, __: bool) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(completion()).encode())
        self._cut()

    def behave_in_crumbs(self, _: Any, __: bool) -> None:
        body = json.dumps(completion()).encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for i in range(0, len(answer), 7):
            self.wfile.write(answer[i : i + 7])

    def behave_farewell(self, _: Any, __: bool) -> None:
        """Answer, then say unasked that the connection has idled too long, and leave."""
        self._send(200, {}, completion())
        time.sleep(0.05)
        self.wfile.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        self._cut()

    def behave_stale(self, _: Any, first: bool) -> None:
        """Answer the first request of a connection; drop the second without a word."""
        if first:
            self._send(200, {}, completion())
        else:
            self._cut()

    def behave_stale_reset(self, _: Any, first: bool) -> None:
        """Answer the first request of a connection; reset it on the second."""
        if first:
            self._send(200, {}, completion())
        else:
            self._reset()

    def behave_stale_half(self, _: Any, first: bool) -> None:
        """Answer the first request of a connection; cut it inside the head of the second answer."""
        if first:
            self._send(200, {}, completion())
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-")
            self._cut()

    def behave_refuses_logprobs(self, body: Any, _: bool) -> None:
        if "logprobs" in body:
            error = {"error": {"message": "`logprobs` is not supported with this model"}}
            self._send(400, {}, error)
        else:
            self._send(200, {}, without_logprobs())

    def behave_anthropic_structured(self, body: Any, _: bool) -> None:
        """Answer JSON where a schema is given, but only one that is closed, as Anthropic wants it."""
        wanted = (body.get("output_config") or {}).get("format")
        if wanted is not None and wanted["schema"].get("additionalProperties") is not False:
            words = "output_config.format.schema: `additionalProperties` must be false"
            error = {"type": "invalid_request_error", "message": words}
            self._send(400, {}, {"type": "error", "error": error})
        else:
            block = {"type": "text", "text": '{"metal": "lead", "grams": 11.3}'}
            self._send(200, {}, {**_ANTHROPIC, "content": [block]})

    def behave_limits_top_logprobs(self, body: Any, _: bool) -> None:
        if body.get("top_logprobs", 0) > _REFUSES_TOP_LOGPROBS_ABOVE:
            words = "top_logprobs must be between 0 and 5"
            self._send(422, {}, {"detail": [{"loc": ["body", "top_logprobs"], "msg": words}]})
        else:
            self._send(200, {}, completion())

    def behave_refuses_top_logprobs(self, body: Any, _: bool) -> None:
        if "top_logprobs" in body:
            self._send(400, {}, {"error": {"message": "Unknown parameter: 'top_logprobs'."}})
        else:
            self._send(200, {}, completion())

    def behave_judge(self, body: Any, first: bool) -> None:
        """Say Yes; or what the question asks for: No, nothing of use, an error, or no answer at all."""
        question = body["messages"][0]["content"]
        if "say-error" in question:
            self._send(500, {}, {"error": {"message": "SECRET-WORDS"}})
        elif "say-nothing" in question:
            self.behave_hang(body, first)
        else:
            said = "No." if "say-no." in question else "Well…" if "mumble" in question else "Yes"
            answer = without_logprobs()
            answer["choices"][0]["message"]["content"] = said
            answer["usage"] = {"prompt_tokens": 1_000, "completion_tokens": 2}
            self._send(200, {}, answer)

    def behave_always_blames_logprobs(self, _: Any, __: bool) -> None:
        self._send(400, {}, {"error": {"message": "the prompt about logprobs is bad"}})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._lock = threading.Lock()
        self.seen: list[dict[str, Any]] = []
        self.open: dict[str, int] = {}

    def handle_error(self, *_: Any) -> None:
        """Keep quiet about clients that go away."""

    def note_opened(self, behaviour: str) -> None:
        with self._lock:
            self.open[behaviour] = self.open.get(behaviour, 0) + 1

    def note_closed(self, behaviour: str) -> None:
        if behaviour:
            with self._lock:
                self.open[behaviour] -= 1

    def note_seen(self, path: str, headers: dict[str, str], body: bytes, port: int) -> None:
        lower = {name.lower(): value for name, value in headers.items()}
        entry = {"path": path, "headers": lower, "connection": port, "size": len(body)}
        entry["body"] = json.loads(body) if len(body) < 100_000 else None
        with self._lock:
            self.seen.append(entry)


@contextlib.contextmanager
def running_server(certificate: Path | None = None) -> Iterator[UpstreamServer]:
    """Run the server in a process of its own, and stop it at the end.

    Args:
        certificate: PEM file of a certificate and its key, to serve HTTPS; None for HTTP.
    """
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.upstream_server",
            *([str(certificate)] if certificate else []),
        ],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        scheme = "https" if certificate else "http"
        yield UpstreamServer(port=int(process.stdout.readline()), scheme=scheme)
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


def main() -> None:
    """Serve until standard input closes, so that no server outlives its test run."""
    server = _Server()
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
