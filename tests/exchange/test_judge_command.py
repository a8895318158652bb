"""`cascade log label`: a judge behind a real HTTP server, and CSV labels for traffic logs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cascade.labels import Label, labels_of, write_labels
from cascade.records import Response, TrafficRow
from cascade.sinks import JsonlSink
from cascade.testing import reply
from cascade.traffic_log import TrafficLog
from tests import traffic
from tests.ladders import engine
from tests.upstream_server import UpstreamServer

from .conftest import Run

PRICE = "price: {input: 1, output: 10}"


@pytest.fixture(autouse=True)
def no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tiktoken from its network: a proxy that is not there."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tiktoken"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")


def ladder(
    folder: Path, server: UpstreamServer, *, price: str = PRICE, scorer: str = "{kind: none}"
) -> Path:
    """Write a ladder whose strong rung judges."""
    file = folder / "ladder.yaml"
    behind = f", {price}" if price else ""
    file.write_text(
        f"providers:\n  court: {{kind: openai, base_url: '{server.url('judge')}'}}\n"
        f"ladder:\n  - {{model: small, provider: court, unknown: accept}}\n"
        f"  - {{model: sage, provider: court, request: {{top_k: 3}}{behind}}}\nscorer: {scorer}\n"
    )
    return file


def log(folder: Path, *prompts: str) -> Path:
    """Write a traffic log: one model, no scores."""
    rows = [
        TrafficRow(id=f"q{i}", prompt=prompt, responses=[Response(model="m", text="four")])
        for i, prompt in enumerate(prompts)
    ]
    return traffic.write(folder / "traffic.jsonl", rows)


def test_the_cost_is_told_and_nothing_is_asked(
    tmp_path: Path, run: Run, server: UpstreamServer
) -> None:
    """Exit code 1 without --yes; no call, no label."""
    before = len(server.seen("judge"))
    path = log(tmp_path, "2 + 2?", "3 + 1?")
    code, out, _ = run(
        "log", "label", "--judge", "sage", "-c", ladder(tmp_path, server), "--path", path
    )
    lines = out.splitlines()
    assert code == 1
    assert lines[0] == "2 answers without a score, to be judged by court/sage"
    assert lines[1].startswith("expected cost: about $0.000")
    assert lines[1].endswith("at $1 in and $10 out a million tokens")
    assert lines[2].endswith("at most 16 out")
    assert lines[3] == "nothing was asked; add --yes to go on"
    assert len(server.seen("judge")) == before
    assert labels_of(tmp_path, log="traffic.jsonl") == {}


def test_a_ladder_whose_scorer_is_not_trained_yet_serves_its_judge(
    tmp_path: Path, run: Run, server: UpstreamServer
) -> None:
    """Labels come before training, and a judge needs the providers only."""
    path = log(tmp_path, "2 + 2?")
    file = ladder(tmp_path, server, scorer="{kind: trained, path: not-yet}\npolicy: not-yet.yaml")
    code, out, err = run("log", "label", "--judge", "sage", "-c", file, "--path", path, "--yes")
    assert (code, err) == (0, "")
    assert "1 labels written" in out


def test_labels_are_given_and_counted(tmp_path: Path, run: Run, server: UpstreamServer) -> None:
    """Verdicts become labels, the rest is told with its reason, and what was really spent; once."""
    path = log(tmp_path, "2 + 2?", "say-no.", "mumble", "say-error")
    arguments = ("log", "label", "--judge", "sage", "-c", ladder(tmp_path, server), "--path", path)
    code, out, err = run(*arguments, "--yes", "--at-once", "2")
    assert code == 0
    assert labels_of(tmp_path, log="traffic.jsonl") == {("q0", "m"): 1.0, ("q1", "m"): 0.0}
    assert [r.score for row in TrafficLog(paths=[path]) for r in row.responses] == [
        1,
        0,
        None,
        None,
    ]
    assert f"2 labels written beside {path}\nspent $0.00306\n" in out
    assert "1 without a label: the judge said neither Yes nor No\n" in err
    assert "1 without a label: the judge did not reply: ServerFailed\n" in err
    seen = server.seen("judge")[-1]["body"]
    assert (seen["model"], seen["top_k"], seen["max_tokens"]) == ("sage", 3, 8)
    code, out, _ = run(*arguments)
    assert out.startswith("2 answers without a score")


def test_a_judge_without_a_verdict_is_a_failure(
    tmp_path: Path, run: Run, server: UpstreamServer
) -> None:
    """Exit code 1, and no label file."""
    path = log(tmp_path, "mumble")
    code, out, _ = run(
        "log", "label", "--judge", "sage", "-c", ladder(tmp_path, server), "--path", path, "--yes"
    )
    assert code == 1
    assert "0 labels written" in out
    assert list(tmp_path.glob("labels-*")) == []


def test_an_unknown_price_is_said(tmp_path: Path, run: Run, server: UpstreamServer) -> None:
    """Before and after; it is not taken for nothing."""
    path = log(tmp_path, "2 + 2?")
    config = ladder(tmp_path, server, price="")
    code, out, _ = run("log", "label", "--judge", "sage", "-c", config, "--path", path, "--yes")
    assert code == 0
    assert "expected cost: unknown, as no price of sage is known" in out
    assert out.endswith("spent $0, and 1 calls whose cost is unknown\n")


def test_the_judge_of_the_file_brings_its_own_question(
    tmp_path: Path, run: Run, server: UpstreamServer
) -> None:
    """And its own price."""
    path = log(tmp_path, "2 + 2?", "3 + 3?")
    scorer = "{kind: judge, model: owl, provider: court, max_tokens: 3, prompt: 'Grade {answer} to {question}', price: {input: 2, output: 2}}"
    config = ladder(tmp_path, server, scorer=scorer)
    code, out, _ = run(
        "log", "label", "--judge", "owl", "-c", config, "--path", path, "--yes", "--limit", "1"
    )
    assert code == 0
    assert "at $2 in and $2 out" in out
    seen = server.seen("judge")[-1]["body"]
    assert seen["messages"][0]["content"] == "Grade four to 2 + 2?"
    assert (seen["model"], seen["max_tokens"]) == ("owl", 3)


def test_any_model_of_a_provider_can_judge(
    tmp_path: Path, run: Run, server: UpstreamServer
) -> None:
    """By PROVIDER/MODEL, where no rung has the name."""
    path = log(tmp_path, "2 + 2?")
    config = ladder(tmp_path, server)
    run("log", "label", "--judge", "court/a/b", "-c", config, "--path", path, "--yes")
    assert server.seen("judge")[-1]["body"]["model"] == "a/b"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--judge", "stranger"], "has no such model; allowed: small, sage, or PROVIDER/MODEL"),
        (["--judge", "bench/stranger"], "with one of the providers court"),
        ([], "give a CSV file or --judge MODEL, one of them"),
        (["labels.csv", "--judge", "sage"], "give a CSV file or --judge MODEL, one of them"),
    ],
)
def test_wrong_usage_is_told(
    tmp_path: Path, run: Run, server: UpstreamServer, arguments: list[str], said: str
) -> None:
    """Exit code 2, before anything is read."""
    config = ladder(tmp_path, server)
    code, _, err = run("log", "label", *arguments, "-c", config, "--path", tmp_path)
    assert code == 2
    assert said in " ".join(err.split())


def test_nothing_to_judge_is_no_failure(tmp_path: Path, run: Run, server: UpstreamServer) -> None:
    """Unless there are answers that cannot be judged."""
    path = traffic.write(tmp_path / "log.jsonl", traffic.rows(3))
    config = ladder(tmp_path, server)
    code, out, _ = run("log", "label", "--judge", "sage", "-c", config, "--path", path)
    assert (code, out) == (0, "no answer is left to judge\n")
    traffic.write(path, [TrafficRow(id="a", prompt="x", responses=[Response(model="m")])])
    code, _, err = run("log", "label", "--judge", "sage", "-c", config, "--path", path)
    assert code == 1
    assert "skipped 1: an answer without text; the first: " in err


@pytest.mark.anyio
@pytest.mark.parametrize("text", [True, False])
async def test_a_decision_log_is_judged_where_it_keeps_text(
    tmp_path: Path, run: Run, server: UpstreamServer, anyio_backend: str, text: bool
) -> None:
    """Every answer that was tried, not only the one returned."""
    folder = tmp_path / "logs"
    script = [reply("A", confidence=0.1)], [reply("B", confidence=0.9)]
    cascade, _, _ = engine(*script, sink=JsonlSink(folder), log_text=text)
    async with cascade:
        id = (await cascade.ask("Which?")).id
    config = ladder(tmp_path, server)
    done = subprocess.run(
        [sys.executable, "-m", "cascade", "log", "label", "--judge", "sage", "-c", config,
         "--path", folder, "--yes"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if text:
        assert done.returncode == 0, done.stderr
        assert labels_of(folder) == {(id, "small"): 1.0, (id, "large"): 1.0}
    else:
        assert done.returncode == 1
        assert "skipped 2: the log keeps no text" in done.stderr


def test_ctrl_c_keeps_what_was_labelled(tmp_path: Path, server: UpstreamServer) -> None:
    """The third call hangs; the labels of the first two are there, and what they cost is told."""
    path = log(tmp_path, "2 + 2?", "say-no.", "say-nothing", "never asked")
    command = ["log", "label", "--judge", "sage", "-c", str(ladder(tmp_path, server)),
               "--path", str(path), "--yes", "--at-once", "1"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "cascade", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not any("say-nothing" in str(r["body"]["messages"]) for r in server.seen("judge")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert out.endswith(f"2 labels written beside {path}\nspent $0.00204\n")
    assert labels_of(tmp_path, log="traffic.jsonl") == {("q0", "m"): 1.0, ("q1", "m"): 0.0}


def test_a_csv_labels_a_traffic_log(tmp_path: Path, run: Run) -> None:
    """The model may be left out where one answered; the label wins over a score in the log."""
    one = TrafficRow(id="one", prompt="x", responses=[Response(model="m", text="x", score=1.0)])
    rows = [*traffic.rows(2), one]
    path = traffic.write(tmp_path / "log.jsonl", rows)
    labels = tmp_path / "labels.csv"
    labels.write_text("id,score,model\none,0.25,\nq1,0.5,large\nq1,1,\nq0,1,stranger\nq,1,small\n")
    code, out, err = run("log", "label", labels, "--path", path)
    assert (code, out) == (0, "2 labels joined\n")
    assert "3 ids are not in this log or begin several, or name none of the models" in err
    scores = {(row.id, r.model): r.score for row in TrafficLog(paths=[path]) for r in row.responses}
    assert scores["one", "m"] == 0.25
    assert scores["q1", "large"] == 0.5
    assert scores["q1", "small"] == rows[1].responses[0].score


def test_labels_of_one_traffic_log_are_not_those_of_its_neighbour(tmp_path: Path, run: Run) -> None:
    """Their ids may be the same; a folder of several has to be narrowed down."""
    first, second = (traffic.write(tmp_path / f"{x}.jsonl", traffic.rows(1)) for x in "ab")
    write_labels(tmp_path, [Label(id="q0", score=0.5, model="small", log="a.jsonl")])
    assert [row.responses[0].score for row in TrafficLog(paths=[first])] == [0.5]
    assert [row.responses[0].score for row in TrafficLog(paths=[second])] != [0.5]
    (tmp_path / "labels.csv").write_text("id,score\nq0,1\n")
    code, _, err = run("log", "label", tmp_path / "labels.csv", "--path", tmp_path)
    assert code == 2
    assert "holds several traffic logs" in err.replace("\n", " ")
