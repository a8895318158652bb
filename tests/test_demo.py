"""The demo, on real models."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from cascade.build import cache_folder
from cascade.cli.demo import _until_told_to_end
from cascade.config import load_ladder_file
from cascade.demo import run_demo
from cascade.demo.questions import DEMO, QUESTIONS, TUNING
from cascade.demo.report import keep_lines
from cascade.demo.run import _ask_all, ladder_yaml
from cascade.demo.training import training_questions
from cascade.local.catalogue import MODELS
from cascade.local.server import LocalServer
from tests.upstream_server import running_server

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Once is enough: the engine's own tests run on both loops."""
    return "asyncio"


@pytest.mark.local_models
@pytest.mark.timeout(600)
async def test_the_demo_runs_on_real_models_and_prints_its_tables() -> None:
    """Two rungs and four questions: paths, verdicts, and the comparison at the end."""
    out = io.StringIO()
    console = Console(file=out, width=120)
    code = await run_demo(console, cache_folder(), questions=DEMO[::8][:4], models=MODELS[:2])
    told = out.getvalue()
    assert code == 0, told
    assert "1/4" in told
    assert "What each rung did" in told
    assert "always qwen2.5-coder-0.5b (strongest)" in told
    assert "the ladder" in told
    assert told.count("→ ") == 4


async def test_without_models_the_demo_says_what_to_do(tmp_path: Path) -> None:
    """A ladder needs two; a failure is exit code 1."""
    out = io.StringIO()
    code = await run_demo(Console(file=out, width=120), tmp_path, models=())
    assert code == 1
    assert "needs two models" in out.getvalue()


class Screen(io.StringIO):
    """Takes what is printed, and calls `on_text` with each piece."""

    def write(self, text: str) -> int:
        self.on_text(text)
        return super().write(text)

    def on_text(self, text: str) -> None:
        """Do nothing unless replaced."""


def local(url: str) -> LocalServer:
    """Return a server as if it ran there."""
    return LocalServer(name="x", base_url=url, pid=0, start_s=0.0)


async def test_the_path_of_a_question_is_printed_before_the_other_models_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those are only for the comparison at the end, and slow; a status line tells of them."""
    with running_server() as upstream:
        servers = [local(upstream.url("ok")), local(upstream.url("no-logprobs"))]
        calls_when_printed = []
        out = Screen()

        def note(text: str) -> None:
            if "1/1" in text:
                calls_when_printed.append(len(upstream.seen("no-logprobs")))

        monkeypatch.setattr(out, "on_text", note)
        console = Console(file=out, width=120)
        yaml = ladder_yaml(MODELS[:2], servers, accept={MODELS[0].name: 0.0})
        asked = await _ask_all(console, tmp_path, yaml, MODELS[:2], servers, DEMO[:1])
        assert calls_when_printed == [0]
        assert len(upstream.seen("no-logprobs")) == 1
        assert len(asked[0].rungs) == 2


def test_kept_servers_are_told_with_the_commands_that_ask_them() -> None:
    """The variables are those of configs/local.yaml, and its models are the demo's."""
    servers = [local(f"http://127.0.0.1:{port}/v1") for port in (1001, 1002, 1003)]
    lines = keep_lines(Path("/tmp/a b/ladder.yaml"), servers)
    assert "  cascade ask -c '/tmp/a b/ladder.yaml' \"What is the capital of Norway?\"" in lines
    assert '  cascade ask -c configs/local.yaml "What is the capital of Norway?"' in lines
    assert "  export SMALL_PORT=1002 LARGE_PORT=1003" in lines
    config = load_ladder_file(
        Path(__file__).parent.parent / "configs" / "local.yaml",
        {"SMALL_PORT": "1002", "LARGE_PORT": "1003"},
    )
    assert (
        [config.providers[r.provider].base_url for r in config.ladder]
        == [  # type: ignore[union-attr]
            s.base_url for s in servers[1:]
        ]
    )
    assert [r.model for r in config.ladder] == [m.name for m in MODELS[1:]]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_sigterm_ends_the_demo_as_ctrl_c_does(anyio_backend: str) -> None:
    """What it started is cleaned up, and the exit code is the shell's for that signal."""
    cleaned = []

    async def demo() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await anyio.sleep_forever()
        finally:
            cleaned.append(True)
        return 0

    async def short() -> int:
        return 7

    assert await _until_told_to_end(demo) == 143
    assert cleaned == [True]
    assert await _until_told_to_end(short) == 7


def test_the_demo_asks_other_questions_than_its_thresholds_were_picked_on() -> None:
    """Three disjoint sets."""
    demo, tuning = ({q.prompt for q in part} for part in (DEMO, TUNING))
    training = {q.prompt for q in training_questions()}
    assert not demo & tuning
    assert not training & (demo | tuning)
    assert demo | tuning == {q.prompt for q in QUESTIONS}
