"""docs/server.md says all that the server can say."""

from __future__ import annotations

import re
from pathlib import Path

from cascade.server.options import Options

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "server.md").read_text()


def test_every_code_of_an_error_is_on_the_page() -> None:
    """With the status it goes with."""
    found: set[tuple[str, str]] = set()
    for module in (ROOT / "cascade" / "server").glob("*.py"):
        text = module.read_text()
        found |= set(re.findall(r'(?:Refused|_failed)\(\s*(\d{3}),\s*"(\w+)"', text))
        found |= set(re.findall(r'status=(\d{3}),[^)]*?code="(\w+)"', text))
    assert len(found) > 15
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \d{3}", line)]
    missing = [
        (status, code)
        for status, code in sorted(found)
        if not any(status in row.split("|")[1] and f"`{code}`" in row for row in rows)
    ]
    assert missing == []


def test_every_option_is_on_the_page() -> None:
    """And no more of them."""
    table = PAGE.partition("| `cascade.…` | header | |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row)}
    assert named >= set(Options.__struct_fields__)


def test_every_path_is_on_the_page() -> None:
    """As it is routed."""
    text = (ROOT / "cascade" / "server" / "app.py").read_text()
    paths = [path.partition("/{")[0] for path in re.findall(r'route\("([^"]+)"', text)]
    assert len(paths) >= 7
    assert [path for path in paths if path not in PAGE] == []
