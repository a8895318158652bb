"""The command line: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cascade.cli import main

ROOT = Path(__file__).parent.parent
RECORDED = str(ROOT / "configs" / "recorded.yaml")


def run(*arguments: str) -> int:
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_ask_prints_the_answer_and_tells_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer alone on stdout, the walk on stderr."""
    assert run("ask", "What is the capital of France?", "-c", RECORDED) == 0
    out, err = capsys.readouterr()
    assert out == "Paris\n"
    assert "rung 0 small-model: accepted: confidence 0.98 ≥ 0.80" in err
    assert "→ answered by small-model" in err


def test_ask_escalates(capsys: pytest.CaptureFixture[str]) -> None:
    """A recorded ladder shows escalation without a network."""
    question = "How many days has February in a leap year?"
    assert run("ask", question, "-c", RECORDED, "--quiet") == 0
    assert capsys.readouterr() == ("29\n", "")


def test_ask_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object with every attempt."""
    assert run("ask", "What is 12 times 12?", "-c", RECORDED, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["text"], found["model"], found["rung"]) == ("144", "small-model", 0)
    assert found["attempts"][0]["verdict"] == "accepted"
    assert found["cost_usd"] == pytest.approx(1.7e-6)


@pytest.mark.parametrize("piped", ["What is 12 times 12?", "What is 12 times 12?\n"])
def test_a_question_is_read_from_stdin_without_the_line_end_of_echo(
    piped: str, tmp_path: Path
) -> None:
    """One final newline is taken off; more of them are the user's."""
    log = tmp_path / "log.jsonl"
    log.write_text(
        "\n".join(
            json.dumps({"prompt": prompt, "responses": [{"model": "m", "text": text}]})
            for prompt, text in (("What is 12 times 12?", "144"), ("What is 12 times 12?\n", "two"))
        )
    )
    config = tmp_path / "l.yaml"
    config.write_text(
        "providers: {p: {kind: recorded, path: log.jsonl}}\nladder: [{model: m, provider: p}]"
    )
    for end, said in (("", "144\n"), ("\n", "two\n")):
        done = subprocess.run(
            [sys.executable, "-m", "cascade", "ask", "-", "-q", "-c", str(config)],
            input=piped.rstrip("\n") + "\n" + end,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == said


def test_a_failed_run_ends_with_1_and_every_cause(capsys: pytest.CaptureFixture[str]) -> None:
    """A prompt the log does not hold; the prompt is not repeated."""
    assert run("ask", "What is my secret?", "-c", RECORDED) == 1
    err = capsys.readouterr().err
    assert "log/small-model" in err
    assert "log/large-model" in err
    assert "secret" not in err


def test_a_failed_run_prints_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that reads stdout finds out what failed."""
    assert run("ask", "What is my secret?", "-c", RECORDED, "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "AllRungsFailed"
    assert [cause["type"] for cause in error["causes"]] == ["NotRecorded", "NotRecorded"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", "hi", "-c", "absent.yaml"], "absent.yaml"),
        (["ask", "hi"], "no ladder to ask: $CASCADE_CONFIG is not set"),
        (["ask", "", "-c", RECORDED], "prompt: empty"),
        (["ask", "hi", "-c", RECORDED, "--min-confidence", "2"], "min_confidence: 2.0 given"),
        (["ask"], "Missing argument"),
        (["check"], "give at least one ladder file"),
        (["ask", "hi"], "`Cascade.from_yaml(FILE)`, or `-c FILE` on the command line"),
        (["log", "ls", "--path", "absent"], "absent: no such log"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_usage_ends_with_2(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What to change is said on stderr, without a traceback."""
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert said in err.replace("\n", " ")
    assert "Traceback" not in err


def test_the_default_ladder_is_named_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """$CASCADE_CONFIG, then ./cascade.yaml."""
    monkeypatch.setenv("CASCADE_CONFIG", RECORDED)
    assert run("ask", "What is 12 times 12?", "-q") == 0
    assert capsys.readouterr().out == "144\n"
    monkeypatch.setenv("CASCADE_CONFIG", "/nowhere.yaml")
    assert run("ask", "hi") == 2
    assert "'/nowhere.yaml', which is not a file" in capsys.readouterr().err


BAD = """
version: 1
providers:
  log: {kind: recorded, path: missing.jsonl}
ladder:
  - {model: small, provider: lag, accept: 1.7}
  - {modle: large, provider: log}
"""


def test_check_prints_every_mistake_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All at once, and exit code 1; a good file beside it is still reported."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    assert run("check", RECORDED, str(bad)) == 1
    out = capsys.readouterr().out
    assert "recorded.yaml: good" in out
    for line, path in ((6, "ladder[0].accept"), (6, "ladder[0].provider"), (7, "ladder[1]")):
        assert f"bad.yaml:{line}: {path}" in out
    assert "1.7" in out
    assert run("check", str(bad), "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is False
    assert {p["line"] for p in report["problems"]} >= {6, 7}


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_check_ends_with_2_when_a_file_cannot_be_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `ask` does: the command line is wrong, not the ladder. The other files are still checked."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    assert run("check", str(tmp_path / name), str(bad), RECORDED) == 2
    out = capsys.readouterr().out
    assert "cannot be read" in out
    assert "bad.yaml:6" in out
    assert "recorded.yaml: good" in out


def test_check_tells_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a long log only the beginning is read; the file is good all the same."""
    monkeypatch.setattr("cascade.build_checks.CHECKED_LOG_MB", 0.001)
    assert run("check", RECORDED) == 0
    assert "recorded.yaml: note: of log, only the first 1 rows" in capsys.readouterr().out
    assert run("check", RECORDED, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["notes"]) == 1


def test_a_password_in_an_address_is_printed_by_no_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scheme and host are enough to find it."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "providers:\n  p: {kind: openai, base_url: 'http://user:sk-VERYSECRET@127.0.0.1:9/v1'}\n"
        "ladder: [{model: m, provider: p}]\n"
    )
    for command in (
        ["check", str(bad)],
        ["check", "--json", str(bad)],
        ["ask", "x", "-c", str(bad)],
    ):
        assert run(*command) != 0
        said = "".join(capsys.readouterr())
        assert "http://…@127.0.0.1:9/…" in said
        assert "SECRET" not in said


def test_check_prints_the_schema_for_editors(capsys: pytest.CaptureFixture[str]) -> None:
    """The committed schema is the printed one."""
    assert run("check", "--schema") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((ROOT / "configs" / "cascade.schema.json").read_text())


def test_log_lists_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest asks, and one of them whole."""
    config = tmp_path / "ladder.yaml"
    text = (
        Path(RECORDED)
        .read_text()
        .replace("${CASCADE_LOG:-example-log.jsonl}", str(ROOT / "configs/example-log.jsonl"))
    )
    config.write_text(text + "log: {path: logs}\n")
    for _ in range(3):
        assert run("ask", "What is 12 times 12?", "-c", str(config), "-q") == 0
    capsys.readouterr()
    logs = str(tmp_path / "logs")
    assert run("log", "ls", "--path", logs, "-n", "2", "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    record = msgspec.json.decode(lines[-1])
    assert run("log", "show", record["id"][:10], "--path", logs) == 0
    assert json.loads(capsys.readouterr().out) == record
    assert run("log", "ls", "--path", logs) == 0
    assert "small-model" in capsys.readouterr().out
    assert run("log", "show", "zzz", "--path", logs) == 2


@pytest.mark.parametrize("command", ["ask", "check", "demo", "log", "log ls", "log show"])
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` ends well and shows how to call it."""
    assert run(*command.split(), "--help") == 0
    assert f"Example: cascade {command}" in " ".join(capsys.readouterr().out.split())


def test_the_module_is_the_command() -> None:
    """`python -m cascade` works as a process."""
    done = subprocess.run(
        [sys.executable, "-m", "cascade", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0.1.0\n"
