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
