"""The upstream's process as the harness handles it: started, told what to do, asked, killed."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .plan import Plan

__all__ = ["Counts", "Row", "Upstream", "bad_certificate", "refused_port"]

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Row:
    """One request as the upstream saw it; see `upstream.STATES`."""

    ask: int
    model: str
    number: int
    fault: str | None
    state: str
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Everything an upstream says about its requests since the last plan."""

    rows: tuple[Row, ...]
    connections: int

    def states(self) -> dict[str, int]:
        """Return how many requests ended in each state."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row.state] = found.get(row.state, 0) + 1
        return found


class Upstream:
    """A running upstream.

    Args:
        folder: Where its journal goes.
        name: Of the journal, so that several can share a folder.
        certificate: PEM file for a second port that speaks TLS; None: no such port.
    """

    def __init__(self, folder: Path, name: str = "upstream", certificate: Path | None = None):
        self._journal = folder / f"{name}.journal"
        self._certificate = certificate
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.tls_port: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Base URL of its API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Start it; again on the same port, if it has had one."""
        command = [sys.executable, "-m", "tests.faults.upstream", "--port", str(self.port)]
        command += ["--journal", str(self._journal)]
        if self._certificate is not None:
            command += ["--certificate", str(self._certificate)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port, *secure = json.loads(self._process.stdout.readline())
        self.tls_port = secure[0] if secure else None

    def stop(self) -> None:
        """End it."""
        self._end(kill=False)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        if kill:
            process.kill()
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()

    def plan(self, plan: Plan) -> None:
        """Tell it what to do from now on; it forgets what it has seen."""
        self._exchange("plan", plan.to_json())

    def counts(self) -> Counts:
        """Return what it says about its requests."""
        said = self._exchange("counts")
        rows = tuple(Row(*row) for row in said["requests"])
        return Counts(rows=rows, connections=said["connections"] - 1)  # less the one that asks

    def settled_counts(self, timeout_s: float) -> Counts:
        """Return what it says once nothing is being worked on and nobody is connected, or at last."""
        until = time.monotonic() + timeout_s
        while True:
            counts = self.counts()
            quiet = counts.connections == 0 and "working" not in counts.states()
            if quiet or time.monotonic() > until:
                return counts
            time.sleep(0.02)

    def _exchange(self, what: str, body: bytes | None = None) -> Any:
        url = f"http://127.0.0.1:{self.port}/{what}"
        with urllib.request.urlopen(url, data=body, timeout=10) as answer:
            return json.load(answer)


@contextlib.contextmanager
def refused_port() -> Iterator[int]:
    """Hold a port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def bad_certificate(folder: Path) -> Path | None:
    """Write a self-signed certificate with its key; None where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    key, certificate, both = (folder / f"{name}.pem" for name in ("key", "certificate", "both"))
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both
