"""`cascade.ask`, `cascade.sync` and importing the package."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import anyio
import msgspec
import pytest

import cascade
from cascade.sync import Cascade as SyncCascade

ROOT = Path(__file__).parent.parent
RECORDED = ROOT / "configs" / "recorded.yaml"


def test_public_names_are_sorted_and_importable() -> None:
    """`__all__` is the public surface, no more and no less."""
    assert cascade.__all__ == sorted(cascade.__all__)
    for name in cascade.__all__:
        assert getattr(cascade, name) is not None


HEAVY = ("numpy", "sklearn", "lightgbm", "pydantic", "httpx", "aiohttp", "redis", "starlette")


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Checked in a process of its own."""
    code = f"import sys, cascade; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


LOGGED = """version: 1
providers: {{log: {{kind: recorded, path: {log}}}}}
ladder: [{{model: small-model, provider: log, accept: 0.5}}, {{model: large-model, provider: log}}]
log: {{path: {folder}}}
"""

DEFAULT = """
import logging, sys, anyio, cascade
# A busy machine makes steps slow, which asyncio's debug mode warns of; mistakes are errors there.
logging.getLogger("asyncio").setLevel(logging.ERROR)
async def main():
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(cascade.ask, "What is 12 times 12?")
    print((await cascade.ask("What is 12 times 12?")).text)
anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_default_engine_is_built_once_and_closed_with_the_loop(
    tmp_path: Path, backend: str
) -> None:
    """Eleven asks from one file; all of them are on disk when the loop has ended."""
    config = tmp_path / "cascade.yaml"
    config.write_text(
        LOGGED.format(log=ROOT / "configs" / "example-log.jsonl", folder=tmp_path / "logs")
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", DEFAULT, backend],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("144\n", "")
    (segment,) = (tmp_path / "logs").iterdir()
    assert len(segment.read_bytes().splitlines()) == 11


@pytest.mark.anyio
async def test_without_a_configuration_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is guessed."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cascade.ConfigError, match=r"CASCADE_CONFIG is not set.*docs/configuration"):
        await cascade.ask("hi")


def test_the_blocking_engine_serves_many_threads() -> None:
    """One engine, closed by `with`."""
    texts: list[str] = []
    with SyncCascade.from_yaml(RECORDED) as ladder:
        threads = [
            threading.Thread(
                target=lambda: texts.append(ladder.ask("What is the capital of France?").text)
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["Paris"] * 8
    with pytest.raises(cascade.EngineClosed):
        ladder.ask("What is the capital of France?")


MANY = """
import anyio, cascade
QUESTIONS = ["What is 12 times 12?", "What is the capital of France?"]
async def main():
    return [r.text for r in await cascade.ask_many(QUESTIONS, per_call=2)]
print(anyio.run(main), [r.text for r in cascade.sync.ask_many(QUESTIONS)])
"""


def test_several_questions_go_through_every_front_door(tmp_path: Path) -> None:
    """`cascade.ask_many` and `cascade.sync.ask_many`, on the default ladder."""
    config = tmp_path / "cascade.yaml"
    config.write_text(
        LOGGED.format(log=ROOT / "configs" / "example-log.jsonl", folder=tmp_path / "logs")
    )
    done = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.stdout, done.stderr) == ("['144', 'Paris'] ['144', 'Paris']\n", "")


SYNC = """
import cascade
print(cascade.sync.ask("What is 12 times 12?").text)
"""


def test_sync_ask_writes_its_log_before_the_program_ends(tmp_path: Path) -> None:
    """A script needs no `with`."""
    config = tmp_path / "cascade.yaml"
    config.write_text(
        LOGGED.format(log=ROOT / "configs" / "example-log.jsonl", folder=tmp_path / "logs")
    )
    done = subprocess.run(
        [sys.executable, "-c", SYNC], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.stdout, done.stderr) == ("144\n", "")
    (segment,) = (tmp_path / "logs").iterdir()
    assert msgspec.json.decode(segment.read_bytes())["outcome"] == "answered"


@pytest.mark.anyio
async def test_overrides_replace_what_the_file_says() -> None:
    """Keywords of the constructor; an unknown one is refused."""
    from cascade.testing import ListSink

    sink = ListSink()
    async with cascade.Cascade.from_yaml(RECORDED, sink=sink) as ladder:
        await ladder.ask("What is 12 times 12?")
    assert len(sink.records) == 1
    with pytest.raises(cascade.ConfigError, match="colour"):
        cascade.Cascade.from_yaml(RECORDED, colour="red")


def test_a_blocking_engine_that_cannot_open_does_not_keep_the_program_alive(
    tmp_path: Path,
) -> None:
    """The thread is gone when `with` fails."""
    (tmp_path / "file").write_text("")
    config = tmp_path / "cascade.yaml"
    config.write_text(
        LOGGED.format(log=ROOT / "configs" / "example-log.jsonl", folder=tmp_path / "file" / "logs")
    )
    done = subprocess.run(
        [sys.executable, "-c", SYNC],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_doubles_are_usable_from_sync_code() -> None:
    """The public doubles drive the blocking engine as well."""
    from tests.ladders import engine

    ladder, client, _ = engine(cascade.testing.reply("A", confidence=0.9))
    with SyncCascade(ladder) as blocking:
        assert blocking.ask("Which?").text == "A"
    assert client.closed
    anyio.run(anyio.sleep, 0)
