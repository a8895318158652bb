"""Puts environment variables into the values of a ladder file: `${NAME}` and `${NAME:-default}`.

The environment is an argument. A variable always gives text; keys are never substituted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .yaml_source import KeyPath

__all__ = ["Substitution", "substitute", "variable_names"]

# `$${` first, so that an escaped brace is never read as a variable; the bare `${` last, as a mistake.
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{")


@dataclass(slots=True, kw_only=True)
class Substitution:
    """What came of it.

    Attributes:
        data: The data with variables put in.
        secrets: Values that hold something of the environment, by path: what the file says there,
            which may be shown where the value may not.
        unresolved: Paths of the values that are not what they will be, because a variable is missing
            or malformed: nothing else is worth saying about them.
        mistakes: Path, message and what is allowed, in the order of the file.
    """

    data: Any = None
    secrets: dict[KeyPath, str] = field(default_factory=dict)
    unresolved: set[KeyPath] = field(default_factory=set)
    mistakes: list[tuple[KeyPath, str, str | None]] = field(default_factory=list)


def substitute(data: Any, env: Mapping[str, str], *, allow_unset: bool = False) -> Substitution:
    """Return `data` with every variable replaced by its value in `env`.

    A default stands in for a variable that is not set or empty; without one that is a mistake.
    `$${` is a plain `${`. With `allow_unset`, text with an unset variable is left as it stands.

    >>> substitute({"key": "${A}", "url": "${B:-none}"}, {"A": "1"}).data
    {'key': '1', 'url': 'none'}
    """
    result = Substitution()
    result.data = _replaced(data, (), env, allow_unset, result)
    return result


def variable_names(text: str) -> list[str]:
    """Return the variables in `text`, each once, in their order.

    >>> variable_names("${A}:$${B}@${C:-no}/${A}")
    ['A', 'C']
    """
    names = (match.group(1) for match in _VARIABLE.finditer(text))
    return list(dict.fromkeys(name for name in names if name))


def _replaced(
    value: Any, path: KeyPath, env: Mapping[str, str], allow_unset: bool, result: Substitution
) -> Any:
    if isinstance(value, dict):
        return {k: _replaced(v, (*path, k), env, allow_unset, result) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(v, (*path, i), env, allow_unset, result) for i, v in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _replaced_text(value, path, env, allow_unset, result)
    return value


def _replaced_text(
    text: str, path: KeyPath, env: Mapping[str, str], allow_unset: bool, result: Substitution
) -> str:
    left_unset = False

    def mistake(message: str, allowed: str) -> str:
        result.mistakes.append((path, message, allowed))
        result.unresolved.add(path)
        return ""

    def put_in(match: re.Match[str]) -> str:
        nonlocal left_unset
        name, default = match.group(1), match.group(2)
        if match.group() == "$${":
            return "${"
        if name is None:
            allowed = "${NAME} or ${NAME:-default}; $${ for a plain ${"
            return mistake("`${` does not begin a variable", allowed)
        value = env.get(name, "")
        if value:
            result.secrets[path] = text
            if "\x00" in value or not _encodes(value):
                return mistake(f"the variable {name} is not text", "UTF-8 text without NUL")
            return value
        if default is not None:
            return default
        if allow_unset:
            left_unset = True
            return ""
        state = "empty" if name in env else "not set"
        allowed = f"set {name}, or give a default: ${{{name}:-default}}"
        return mistake(f"the environment variable {name} is {state}", allowed)

    replaced = _VARIABLE.sub(put_in, text)
    if left_unset:
        result.unresolved.add(path)
        return text
    return replaced


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
