"""A signal to end is heeded whenever it comes: while the ladder is loaded, in uvicorn's first moments, later."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from cascade.clock import SystemClock
from cascade.server.bodies import BodyLimits
from cascade.server.endpoint import Gate
from cascade.server.listening import listen
from cascade.server.process import serve_on
from cascade.server.served import Ladders
from cascade.server.settings import ServeSettings
from cascade.server.stopping import noting
from tests.upstream_server import UpstreamServer

from .serving import chat, ladder, serving, until

SCORER = """
import os, pathlib, signal
from cascade.types import Score
class Scorer:
    version = "ends/1"
    def __init__(self):
        try:
            pathlib.Path("ended").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGTERM)
    async def score(self, *_):
        return Score(confidence=0.9)
"""
"""What a ladder names in Python, and ends its process, once, while the ladder is loaded."""


def scored(upstream: UpstreamServer, folder: Path) -> str:
    (folder / "ends.py").write_text(SCORER)
    return ladder(upstream, "a", "ok", more='scorer: {kind: "ends:Scorer"}')


def test_a_server_that_is_told_while_it_loads_ends_as_any_other(
    upstream: UpstreamServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With code 0, its ladder closed."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with serving(tmp_path, {"a": scored(upstream, tmp_path)}) as server:
        assert server.process.wait(timeout=20) == 0
        until(lambda: server.events("closed"))
    assert server.events("closing")


def test_a_worker_that_is_told_while_it_loads_ends_and_is_replaced(
    upstream: UpstreamServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not killed in the midst of it."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "ended").touch()
    with serving(tmp_path, {"a": scored(upstream, tmp_path)}, "--workers", "2") as server:
        (tmp_path / "ended").unlink()
        first = {line["worker"]: line["pid"] for line in server.events("serving")}
        os.kill(first[1], signal.SIGKILL)
        codes = until(lambda: [line["code"] for line in server.events("worker died")][1:], 30)
        assert codes == [0]
        until(lambda: len(server.events("serving")) == 4, 30)
        assert server.post("/v1/chat/completions", chat("cascade/a")).status_code == 200
        assert server.stop() == 0


@pytest.mark.parametrize("when", ["before", "in the first moments"])
def test_no_signal_is_lost_while_handlers_change(tmp_path: Path, when: str) -> None:
    """Neither one that was noted, nor one between the listening and the loop."""
    file = tmp_path / "a.yaml"
    file.write_text(
        'name: a\nproviders: {p: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}\n'
        "ladder: [{model: m, provider: p}]\n"
    )

    async def tell() -> None:
        if when != "before":
            signal.raise_signal(signal.SIGTERM)

    async def serve(told: Sequence[int]) -> None:
        ladders = Ladders([file])
        await ladders.open()
        gate = Gate(None, BodyLimits(1_000, 5), SystemClock())
        settings = ServeSettings(files=(file,))
        with listen("127.0.0.1", 0) as listener, anyio.fail_after(20):
            await serve_on(listener, ladders, gate, settings, told=told, beside=(tell,))
        assert ladders.closing

    before = signal.getsignal(signal.SIGTERM)
    with noting(signal.SIGTERM) as told:
        if when == "before":
            signal.raise_signal(signal.SIGTERM)
            assert list(told) == [signal.SIGTERM]
        anyio.run(serve, told)
    assert signal.getsignal(signal.SIGTERM) is before
