"""`cascade probe`, from a log to the evidence, against a real model server over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade.exchange.probe_journal import Journal
from cascade.traffic_log import TrafficLog
from tests import traffic

from .conftest import Run
from .notes_server import NotesServer, running_notes_server
from .probes import notes_log, notes_row

STAGES = "[minify, {extract: {budget: 150}}]"
PRICE = "price: {input: 1, output: 2}"


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file is there, answers take a while."""
    return tmp_path_factory.mktemp("notes") / "slow"


@pytest.fixture(scope="module")
def notes(slow: Path) -> Iterator[NotesServer]:
    """Run the server in a process of its own."""
    with running_notes_server(slow) as running:
        yield running


def ladder(folder: Path, server: NotesServer, *, stages: str = STAGES, price: str = PRICE) -> Path:
    """Write a ladder of two rungs that compresses, with evidence that is not there yet."""
    file = folder / "ladder.yaml"
    file.write_text(
        f"providers: {{p: {{kind: openai, base_url: '{server.url}'}}}}\n"
        f"ladder:\n  - {{model: small, provider: p, max_tokens: 40, unknown: accept, {price}}}\n"
        f"  - {{model: large, provider: p, {price}}}\n"
        f"compress: {{stages: {stages}, min_saving_usd: 0, evidence: compress.yaml}}\n"
    )
    return file


def probe(folder: Path, server: NotesServer, *more: object, rows: int = 40) -> list[object]:
    """The command line of a probe of some rows of a log of that many."""
    return [
        "probe", notes_log(folder, rows), "-c", ladder(folder, server),
        "-o", folder / "probe.jsonl", *more
    ]  # fmt: skip


def test_the_price_is_told_and_nothing_is_bought(
    tmp_path: Path, run: Run, notes: NotesServer
) -> None:
    """Exit code 1 without --yes, and no file is left."""
    before = len(notes.asked())
    code, out, _ = run(*probe(tmp_path, notes, "--sample", 10))
    assert code == 1
    assert len(notes.asked()) == before
    assert "10 prompts that compression changes, by kind of task: all 10" in out
    assert "expected cost: about $0.00" in out
    assert "nothing was asked; add --yes to go on" in out
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["ladder.yaml", "notes.jsonl"]


def test_from_a_log_to_a_stage_that_is_on(tmp_path: Path, run: Run, notes: NotesServer) -> None:
    """Probe, buy more, tune, ask: the stage is off without the evidence and on with it."""
    prompt = notes_row(1_000).prompt
    ask = ["ask", prompt, "-c", ladder(tmp_path, notes), "--json"]
    config = ladder(tmp_path, notes)
    config.write_text(config.read_text().replace(", evidence: compress.yaml", ""))
    code, out, _ = run(*ask)
    assert (code, notes.asked()[-1]) == (0, prompt)
    before = len(notes.asked())
    code, out, err = run(
        *probe(tmp_path, notes, "--sample", 20, "--clusters", 1, "--yes", rows=200)
    )
    assert code == 0, err
    assert len(notes.asked()) - before == 40
    assert "40 answers bought for $" in out
    assert "small#compressed: 20 pairs, " in out
    code, out, err = run(
        *probe(tmp_path, notes, "--sample", 160, "--clusters", 1, "--yes", rows=200)
    )
    assert code == 0, err
    assert len(notes.asked()) - before == 2 * len(
        list(TrafficLog(paths=[tmp_path / "probe.jsonl"]))
    )
    row = next(iter(TrafficLog(paths=[tmp_path / "probe.jsonl"])))
    assert [(r.model, r.score) for r in row.responses] == [
        ("small", 1.0),
        ("small#compressed", 1.0),
    ]
    code, out, err = run(
        "tune", "--compress", tmp_path / "probe.jsonl", "-o", tmp_path / "compress.yaml"
    )
    assert code == 0, err
    assert "with 95% confidence" in out
    ladder(tmp_path, notes)
    code, out, err = run(*ask)
    assert code == 0, err
    assert len(notes.asked()[-1]) < len(prompt)
    assert json.loads(out)["text"] == f"The code is {notes_row(1_000).reference}."


def test_ctrl_c_keeps_what_is_paid_for_and_the_same_command_goes_on(
    tmp_path: Path, run: Run, notes: NotesServer, slow: Path
) -> None:
    """Calls in flight are waited for; nothing is bought twice."""
    command = [
        str(word) for word in probe(tmp_path, notes, "--sample", 15, "--yes", "--at-once", 2)
    ]
    before = len(notes.asked())
    slow.touch()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "cascade", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + 60
        while len(notes.asked()) < before + 5:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        slow.unlink()
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "stopped: interrupted; the same command goes on" in err
    asked = len(notes.asked()) - before
    assert 5 <= asked < 30
    assert f"{asked} answers bought for $" in out
    assert len(Journal(tmp_path / "probe.bought").answers) == asked
    code, out, err = run(*command)
    assert code == 0, err
    assert len(notes.asked()) - before == 30
    assert len(list(TrafficLog(paths=[tmp_path / "probe.jsonl"]))) == 15


def test_a_judge_may_say_afterwards_who_was_right(
    tmp_path: Path, run: Run, notes: NotesServer
) -> None:
    """The log is one like any other; its labels count in the test."""
    code, out, _ = run(*probe(tmp_path, notes, "--sample", 5, "--score-by", "none", "--yes"))
    assert code == 0
    assert "5 pairs, " in out
    assert "not scored yet" in out
    rows = list(TrafficLog(paths=[tmp_path / "probe.jsonl"]))
    lines = [f"{row.id},1,{r.model}" for row in rows for r in row.responses]
    (tmp_path / "said.csv").write_text("\n".join(["id,score,model", *lines]))
    code, out, _ = run("log", "label", tmp_path / "said.csv", "--path", tmp_path / "probe.jsonl")
    assert (code, out) == (0, "10 labels joined\n")
    code, out, _ = run(
        "tune", "--compress", tmp_path / "probe.jsonl", "-o", tmp_path / "c.yaml", "--json"
    )
    assert json.loads(out)["verdicts"][0]["pairs"] == 5
    assert json.loads(out)["verdicts"][0]["compressed"] == 1.0


def test_changed_stages_need_another_file(tmp_path: Path, run: Run, notes: NotesServer) -> None:
    """Answers to differently compressed prompts would be mixed."""
    command = probe(tmp_path, notes, "--sample", 3, "--yes")
    assert run(*command)[0] == 0
    ladder(tmp_path, notes, stages="[{extract: {budget: 140}}]")
    code, _, err = run(*command)
    assert code == 2
    assert "the stages of compressed for small have changed since; give another file" in " ".join(
        err.split()
    )


def test_another_variant_joins_what_was_bought(
    tmp_path: Path, run: Run, notes: NotesServer
) -> None:
    """What is the same call is not made again, and what was paid for stays in the log."""
    before = len(notes.asked())
    for variants in ("compressed,plain", "extract,plain"):
        code, _, err = run(*probe(tmp_path, notes, "--sample", 4, "--variants", variants, "--yes"))
        assert code == 0, err
    assert len(notes.asked()) - before == 8
    for row in TrafficLog(paths=[tmp_path / "probe.jsonl"]):
        assert [r.model for r in row.responses] == ["small", "small#compressed", "small#extract"]
    code, _, err = run(*probe(tmp_path, notes, "--temperature", 0.5, "--yes"))
    assert code == 2
    assert "it was begun with --temperature None; give another file" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--variants", "plain,short"], "'short' given; allowed: plain, compressed, extract"),
        (
            ["--models", "huge"],
            "--models: 'huge' given; allowed, as they have `compress`: small, large",
        ),
        (["--score-by", "luck"], "'luck' given; allowed: auto, reference, agreement, none"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_usage_is_told(
    tmp_path: Path, run: Run, notes: NotesServer, arguments: list[str], said: str
) -> None:
    """Exit code 2, nothing bought."""
    code, _, err = run(*probe(tmp_path, notes, *arguments, "--yes", rows=3))
    assert code == 2
    assert said in " ".join(err.split())


def test_an_unknown_price_and_a_ladder_without_compression_are_refused(
    tmp_path: Path, run: Run, notes: NotesServer
) -> None:
    """With what to write."""
    command = probe(tmp_path, notes, "--yes", rows=3)
    config = ladder(tmp_path, notes, price="top_logprobs: 0")
    code, _, err = run(*command)
    assert code == 2
    assert "no price of small is known, so nobody can say what this costs" in " ".join(err.split())
    text = config.read_text()
    config.write_text(text[: text.index("compress:")])
    code, _, err = run(*command)
    assert code == 2
    assert "the ladder file sets no compression; allowed: `compress:" in " ".join(err.split())


def test_a_log_that_compression_leaves_alone_has_nothing_to_prove(
    tmp_path: Path, run: Run, notes: NotesServer
) -> None:
    """Short prompts."""
    command = probe(tmp_path, notes, "--yes", rows=3)
    rows = [notes_row(n) for n in range(3)]
    for row in rows:
        row.prompt = f"What is {row.reference}?"
    traffic.write(tmp_path / "notes.jsonl", rows)
    code, _, err = run(*command)
    assert code == 2
    assert "no prompt of the log is sent shorter by a lossy stage" in " ".join(err.split())
