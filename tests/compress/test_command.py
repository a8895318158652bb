"""`cascade compress` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from cascade.cli.app import app

runner = CliRunner()


def test_plain_text_comes_back_as_plain_text(tmp_path: Path) -> None:
    """The result alone is on stdout, to the byte; what was done is on stderr."""
    file = tmp_path / "prompt.txt"
    file.write_text("a    b   \n\n\n\n" + "c " * 300 + "\n\nWhy?\n")
    done = runner.invoke(app, ["compress", str(file)])
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "a b\n\n" + ("c " * 300).rstrip() + "\n\nWhy?\n"
    assert "compressed from" in done.stderr


def test_chat_messages_come_back_as_json(tmp_path: Path) -> None:
    """Messages keep their roles and further fields; --json tells tokens and stages."""
    file = tmp_path / "chat.json"
    turns = [
        {"role": "system", "content": "Be  brief."},
        {"role": "user", "content": "x    y", "name": "bo"},
        {"role": "user", "content": "Why  so?"},
    ]
    file.write_text(json.dumps({"messages": turns}))
    done = runner.invoke(app, ["compress", str(file), "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["messages"] == [turns[0], {**turns[1], "content": "x y"}, turns[2]]
    assert found["tokens_before"] > found["tokens_after"]
    assert found["stages"][0]["name"] == "minify"


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A file that is not there or not UTF-8 is named, with the byte."""
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    done = runner.invoke(app, ["compress", str(tmp_path / "latin")])
    assert "not UTF-8 at byte 3" in str(done.exception)
    done = runner.invoke(app, ["compress", str(tmp_path / "none")])
    assert "No such file" in str(done.exception)
    (tmp_path / "fine").write_text("a")
    done = runner.invoke(app, ["compress", str(tmp_path / "fine"), "--stage", "x"])
    assert "allowed: minify" in str(done.exception)


def test_the_body_of_a_request_comes_back_whole(tmp_path: Path) -> None:
    """Model, tools and what else it holds stay; the messages are the shorter ones."""
    file = tmp_path / "body.json"
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "x    y"},
            {"role": "user", "content": "Why?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    }
    file.write_text(json.dumps(body))
    done = runner.invoke(app, ["compress", str(file)])
    assert done.exit_code == 0, done.stderr
    first = {"role": "user", "content": "x y"}
    assert json.loads(done.stdout) == {**body, "messages": [first, body["messages"][1]]}


def test_a_json_file_that_is_none_is_told(tmp_path: Path) -> None:
    """It is taken as plain text, and standard error says so."""
    file = tmp_path / "chat.json"
    file.write_text('[{"role": "user"')
    done = runner.invoke(app, ["compress", str(file)])
    assert done.stdout == '[{"role": "user"'
    assert "no JSON" in done.stderr


def test_a_prompt_over_the_budget_is_refused_if_so_wanted(tmp_path: Path) -> None:
    """By default it is left as it is; with --when-over refuse the error names the option and the sizes."""
    file = tmp_path / "prompt.txt"
    file.write_text("```\n" + "x = 1\n" * 400 + "```\n\nQuestion: Why?")
    given = ["compress", str(file), "--budget", "50"]
    done = runner.invoke(app, given)
    assert done.exit_code == 0
    assert "over the budget of 50: the prompt is left as it was" in done.stderr
    done = runner.invoke(app, [*given, "--when-over", "refuse"])
    assert "--budget: what must be kept is about 2," in str(done.exception)
    done = runner.invoke(app, ["compress", str(file), "--stage", "extract"])
    assert "--budget N" in str(done.exception)


def test_what_was_left_out_can_be_seen_without_colours(tmp_path: Path) -> None:
    """--show marks it as a word diff does."""
    file = tmp_path / "prompt.txt"
    file.write_text(
        f"{'It is so. ' * 100}The key is with Ann.  {'It is so. ' * 100}\n\nQ: Who has the key?"
    )
    done = runner.invoke(app, ["compress", str(file), "--budget", "60", "--show"])
    assert "[-It is so. It" in done.stdout
    assert "{+[…]+}" in done.stdout
    assert "The key is with Ann." in done.stdout
