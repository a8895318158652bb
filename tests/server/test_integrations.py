"""docs/integrations.md and README.md: every program on them, as it stands, against a running server."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .serving import Serving, serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrations.md").read_text()
README = (ROOT / "README.md").read_text()
STATED = "http://127.0.0.1:8000"


def programs() -> list[tuple[str, str, str]]:
    """Return (heading, language, text) of every program."""
    found = []
    for section in PAGE.split("\n## ")[1:]:
        heading = section.partition("\n")[0]
        for language, text in re.findall(r"^```(python|sh)\n(.*?)^```", section, re.M | re.S):
            found.append((heading, language, text))
    return found


def shown_first() -> list[tuple[str, str, str]]:
    """Return the programs of the README that need a server."""
    return [
        ("README", "python", text) for text in re.findall(r"^```py\n(.*?)^```", README, re.M | re.S)
    ]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The server that the page begins with."""
    folder = tmp_path_factory.mktemp("recorded")
    text = (ROOT / "configs" / "recorded.yaml").read_text()
    (folder / "example-log.jsonl").write_bytes((ROOT / "configs/example-log.jsonl").read_bytes())
    with serving(folder, {"recorded": text}) as running:
        yield running


@pytest.mark.timeout(300)  # LiteLLM takes its time to be imported on a busy machine
@pytest.mark.parametrize(
    ("heading", "language", "text"),
    [*programs(), *shown_first()],
    ids=[f"{p[0]}-{p[1]}" for p in [*programs(), *shown_first()]],
)
def test_a_program_of_the_page_runs(
    recorded: Serving, heading: str, language: str, text: str
) -> None:
    """And prints the answer."""
    for name in re.findall(r"^(?:from|import) (\w+)", text, re.M):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    assert STATED in text
    program = text.replace(STATED, recorded.url)
    shell = ["sh", "-c", program] if language == "sh" else [sys.executable, "-c", program]
    kept = ("PATH", "HOME", "LANG", "VIRTUAL_ENV")
    ours = os.environ  # noqa: TID251 - the program's own is made of it
    environment = {name: ours[name] for name in kept if name in ours}
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks GitHub for its prices
    done = subprocess.run(
        shell, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "29" in done.stdout, (done.stdout, done.stderr)


def test_there_is_a_program_for_each() -> None:
    """Of ten lines or a little more."""
    headings = {heading for heading, _, _ in programs()}
    assert headings == {
        *("curl", "OpenAI's SDK", "Anthropic's SDK", "LangChain", "pydantic-ai", "LiteLLM")
    }
    assert all(text.count("\n") <= 12 for _, _, text in programs())
    assert len(shown_first()) == 2
