"""`cascade cache`: listing, showing, removing and warming a cache on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.cli import main

from .redis_server import RedisServer

EXAMPLE = Path(__file__).parent.parent / "configs" / "example-log.jsonl"
CAPITAL = "What is the capital of France?"


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "ladder.yaml"
    path.write_text(
        f"""
providers: {{log: {{kind: recorded, path: "{EXAMPLE}"}}}}
ladder:
  - {{model: small-model, provider: log, accept: 0.8, price: {{input: 0.1, output: 0.4}}}}
  - {{model: large-model, provider: log, price: {{input: 2, output: 8}}}}
cache: {{kind: disk}}
log: {{path: logs, text: true}}
"""
    )
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str, int]:
    code = 0
    try:
        main(arguments)
    except SystemExit as exc:
        code = int(exc.code or 0)
    out, err = capsys.readouterr()
    return out, err, code


def keys(capsys: pytest.CaptureFixture[str], config: str) -> list[str]:
    out, _, _ = run(capsys, "cache", "ls", "-c", config, "--json")
    return [json.loads(line)["key"] for line in out.splitlines()]


def test_the_second_ask_says_that_it_was_a_hit(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In another process too: the cache is on disk."""
    _, first, _ = run(capsys, "ask", CAPITAL, "-c", config)
    out, second, code = run(capsys, "ask", CAPITAL, "-c", config)
    assert "cache: no hit: it has not been asked" in first
    assert (out.strip(), code) == ("Paris", 0)
    assert "cached: the same request" in second
    assert "$0 in all" in second


def test_stats_count_hits_out_of_the_log(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all processes that wrote it."""
    for _ in range(3):
        run(capsys, "ask", CAPITAL, "-c", config)
    out, _, _ = run(capsys, "cache", "stats", "-c", config, "--json")
    assert json.loads(out)["log"] == {"asks": 3, "exact_hits": 2, "near_hits": 0}
    assert "exact hits" in run(capsys, "cache", "stats", "-c", config)[0]


def test_an_entry_is_removed_by_the_beginning_of_its_key(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `ls` shows it; a beginning of several is refused, and removes nothing."""
    run(capsys, "ask", CAPITAL, "-c", config)
    run(capsys, "ask", CAPITAL, "--temperature", "0", "-c", config)
    first, second = keys(capsys, config)
    _, err, code = run(capsys, "cache", "rm", "", "-c", config)
    assert "2 entries with a key that begins with ''" in err
    assert code != 0
    assert "1 entry removed" in run(capsys, "cache", "rm", first[:12], "-c", config)[0]
    assert keys(capsys, config) == [second]


def test_entries_are_listed_shown_and_removed(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the beginning of a key, and by what fits every option."""
    run(capsys, "ask", CAPITAL, "-c", config)
    out, _, _ = run(capsys, "cache", "ls", "-c", config)
    assert CAPITAL in out
    (key,) = keys(capsys, config)
    shown, _, _ = run(capsys, "cache", "show", key[:6], "-c", config)
    assert json.loads(shown)["answer"]["text"] == "Paris"
    stats, _, _ = run(capsys, "cache", "stats", "-c", config, "--json")
    assert json.loads(stats)["models"] == {"small-model": 1}
    assert "0 entries removed" in run(capsys, "cache", "rm", "--model", "other", "-c", config)[0]
    assert (
        "1 entry removed" in run(capsys, "cache", "rm", "--model", "small-model", "-c", config)[0]
    )
    assert keys(capsys, config) == []


def test_a_cache_is_warmed_from_the_decision_log(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the log holds is a hit again, and what gave no entry is counted."""
    run(capsys, "ask", CAPITAL, "-c", config)
    run(capsys, "ask", CAPITAL, "-c", config)
    before = keys(capsys, config)
    run(capsys, "cache", "rm", "--all", "-c", config)
    logs = str(Path(config).parent / "logs")
    out, _, _ = run(capsys, "cache", "warm", logs, "-c", config)
    assert "answers kept: 1" in out
    assert "records left out: 1, no answer of its own" in out
    assert keys(capsys, config) == before
    assert "cached" in run(capsys, "ask", CAPITAL, "-c", config)[1]


def test_what_cannot_be_done_is_refused(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing named to remove, no such key, no cache at all."""
    _, err, code = run(capsys, "cache", "rm", "-c", config)
    assert (code, "nothing to remove is named" in err) == (2, True)
    _, err, code = run(capsys, "cache", "show", "ffff", "-c", config)
    assert (code, "no entry" in err) == (2, True)
    Path(config).write_text(Path(config).read_text().replace("cache: {kind: disk}", ""))
    _, err, code = run(capsys, "cache", "ls", "-c", config)
    assert (code, "no `cache`" in err) == (2, True)
    Path(config).write_text(Path(config).read_text() + "cache: {kind: memory}")
    _, err, code = run(capsys, "cache", "ls", "-c", config)
    assert (code, "inside each process" in err) == (2, True)


def test_two_processes_share_a_cache_in_redis(
    config: str, capsys: pytest.CaptureFixture[str], redis_server: RedisServer
) -> None:
    """What one has asked the other finds; with Redis gone it is asked again."""
    text, folder = Path(config).read_text(), Path(config).parent
    Path(config).write_text(
        text.replace("cache: {kind: disk}", f'cache: {{kind: redis, url: "{redis_server.url}"}}')
    )
    asked = [sys.executable, "-m", "cascade", "ask", CAPITAL, "-c", config]
    first, second = (
        subprocess.run(asked, capture_output=True, text=True, check=True) for _ in range(2)
    )
    assert "no hit" in first.stderr
    assert "cached: the same request" in second.stderr
    stats, _, _ = run(capsys, "cache", "stats", "-c", config, "--json")
    assert json.loads(stats)["store"] == {"entries": 1}
    redis_server.kill()
    for command in (("ls",), ("stats", "--json"), ("rm", "--all"), ("warm", f"{folder}/logs")):
        out, err, code = run(capsys, "cache", *command, "-c", config)
        assert (out, code) == ("", 1)  # what could not be counted is not 0
        assert "the cache could not be asked" in err
    alone = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert alone.stdout.strip() == "Paris"
