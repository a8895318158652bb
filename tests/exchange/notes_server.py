"""A model server that reads notes, run as a process of its own: `cascade probe` asks it over HTTP.

`GET /asked` returns the texts of the prompts it was asked. While the file named on the command line is
there, each answer takes a while.
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
from typing import Any

from tests.exchange.probes import said

__all__ = ["NotesServer", "running_notes_server"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotesServer:
    """A running server."""

    url: str

    def asked(self) -> list[str]:
        """Return what it was asked, oldest first."""
        with urllib.request.urlopen(f"{self.url}/asked", timeout=10) as reply:
            found: list[str] = json.load(reply)
        return found


@contextlib.contextmanager
def running_notes_server(slow: Path) -> Iterator[NotesServer]:
    """Run it, and stop it at the end; while the file `slow` is there each answer takes a while."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.exchange.notes_server", str(slow)],
        cwd=Path(__file__).parent.parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield NotesServer(url=f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


_asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say what was asked."""
        self._send(_asked)

    def do_POST(self) -> None:
        """Answer a chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        _asked.append(prompt)
        if Path(sys.argv[1]).exists():
            time.sleep(0.3)
        text = said(prompt)
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(text) // 4}
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._send({"model": body["model"], "choices": [choice], "usage": usage})

    def _send(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until standard input closes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
