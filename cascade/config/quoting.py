"""How messages quote what a ladder file holds: enough to find the mistake, never a password.

Of a web address they show the scheme and the host, as user names, paths and queries hold keys.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["key_text", "quoted", "without_secrets"]

_SHOWN_CHARACTERS = 60
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"[^/?#\\]*")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::\d{1,5})?")
_TABLE_KEY = re.compile(r"[A-Za-z_]*")
_HEADER = re.compile(r"[\w-]*")


def quoted(value: Any) -> str:
    """Return a value as messages quote it.

    >>> quoted(None), quoted(True), quoted([1]), quoted("a"), quoted("ftp://u:key@h/x?y")
    ('null', 'true', 'a list', "'a'", "'ftp://…@h/…'")
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return repr(_short(without_secrets(value)))
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f".{value}" if value >= 0 or value != value else f"-.{abs(value)}"
    return str(value)


def without_secrets(text: str) -> str:
    """Return `text` with a web address in it cut to scheme and host, and all that follows left out.

    A host that cannot be told apart from a password for certain is left out too.

    >>> without_secrets("http://127.0.0.1:9/v1"), without_secrets("http://user:sk-1/2@h/")
    ('http://127.0.0.1:9/…', 'http://…')
    """
    return _ADDRESS.sub(lambda found: _masked(found.group(1), found.group(2)), text, count=1)


def key_text(key: str, *, depth: int, in_providers: bool) -> str:
    """Return a mapping's key as key paths show it, in quotes unless it is a plain name.

    Inside a provider it is cut where no name goes on: what follows may be a secret that was
    written without the space after its colon.

    Args:
        key: The key.
        depth: Keys and indices before it in its path.
        in_providers: Whether the path begins with `providers`.

    >>> key_text("gpt-4.1", depth=2, in_providers=False)
    '["gpt-4.1"]'
    >>> key_text("api_key:sk-1", depth=2, in_providers=True)
    '["api_key…"]'
    """
    if in_providers and depth >= 2:
        name = (_TABLE_KEY if depth == 2 else _HEADER).match(key)
        kept = name.group() if name else ""
        key = key if kept == key else f"{kept}…"
    if re.fullmatch(r"[\w-]{1,60}", key):
        return f".{key}" if depth else key
    return f'["{_short(key)}"]'.replace("\n", " ")


def _masked(scheme: str, rest: str) -> str:
    found = _AUTHORITY.match(rest)
    authority = found.group() if found else ""
    tail = rest[len(authority) :]
    _, at, host = authority.rpartition("@")
    # An @ further on: then the password itself holds a slash, and what looks like the host is its user.
    if "@" in tail or not _HOST.fullmatch(host):
        return f"{scheme}://…"
    return f"{scheme}://{'…@' if at else ''}{host}{tail if tail in ('', '/') else '/…'}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
