"""README and docs: every block runs, every setting and error is documented."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cascade import errors
from cascade.config import parse_ladder

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (name, text) of every fenced block in that language."""
    found = []
    for page in PAGES:
        pattern = rf"^```{language}\n(.*?)^```"
        for i, match in enumerate(re.finditer(pattern, page.read_text(), re.MULTILINE | re.DOTALL)):
            found.append((f"{page.name}:{i}", match.group(1)))
    return found


ELSEWHERE = ("integrations.md:",)
"""Pages whose programs need a server; tests/server/test_integrations.py runs them."""
ALONE = [block for block in blocks("python") if not block[0].startswith(ELSEWHERE)]


@pytest.mark.parametrize("block", ALONE, ids=lambda b: b[0])
def test_python_blocks_run_as_they_stand(block: tuple[str, str]) -> None:
    """Each in a process of its own, from the root of the project."""
    done = subprocess.run(
        [sys.executable, "-c", block[1]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda b: b[0])
def test_yaml_blocks_are_good_ladders(block: tuple[str, str], tmp_path: Path) -> None:
    """Each is a ladder that `cascade check` accepts."""
    for log in ("traffic.jsonl.gz", "example-log.jsonl"):
        (tmp_path / log).touch()
    environment = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "EU_KEY": "k"}
    parse_ladder(block[1], file=str(tmp_path / "ladder.yaml"), env=environment)


def test_a_scorer_of_ones_own_is_found_as_the_docs_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its folder on PYTHONPATH; without it the message is the one on the page."""
    page = (ROOT / "docs" / "confidence.md").read_text()
    mine = tmp_path / "mine"
    mine.mkdir()
    for language, name in (("python", "short.py"), ("yaml", "ladder.yaml")):
        found = re.search(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        assert found is not None
        (mine / name).write_text(found.group(1))
    shutil.copy(ROOT / "configs" / "example-log.jsonl", mine)
    command = Path(sys.executable).with_name("cascade")
    asked = [command, "ask", "-c", "mine/ladder.yaml", "What is the capital of France?"]
    monkeypatch.setenv("PYTHONPATH", "mine")
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Paris\n"), done.stderr
    monkeypatch.delenv("PYTHONPATH")
    checked = [command, "check", "mine/ladder.yaml"]
    done = subprocess.run(checked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    told = "cannot be imported (ModuleNotFoundError: No module named 'short')"
    assert told in " ".join((done.stdout + done.stderr).split())
    assert told in " ".join(page.split())


def test_every_error_is_in_the_docs() -> None:
    """A user who meets an error finds it."""
    text = "\n".join(page.read_text() for page in PAGES)
    missing = [name for name in errors.__all__ if name not in text]
    assert missing == []


def test_the_readme_links_to_pages_that_exist() -> None:
    """No dead link inside the project."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
