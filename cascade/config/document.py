"""One ladder file with its variables put in: knows the line of every value and which may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LadderError, Problem
from .quoting import quoted
from .variables import Substitution, substitute, variable_names
from .yaml_source import MAX_BYTES, KeyPath, YamlSource, path_text, read_yaml

__all__ = ["MAX_PROBLEMS", "Document", "open_document", "read_file"]

MAX_PROBLEMS = 100
"""Mistakes listed; a file with more of them is not a ladder, and is not searched further."""


@dataclass(slots=True, kw_only=True)
class Document:
    """A file that has been read, with other files mounted where it names them.

    Attributes:
        file: Its name as it was given, or None.
        data: Its top mapping, variables put in, and the data of mounted files in their places.
        problems: The mistakes found so far.
        mounted: Files that stand for one of its keys (a policy file), by that key.
    """

    file: str | None
    data: dict[str, Any]
    problems: list[Problem]
    mounted: dict[str, Document] = field(default_factory=dict)
    _reported: set[KeyPath] = field(default_factory=set)
    _source: YamlSource
    _values: Substitution

    def report(self, path: KeyPath, message: str, allowed: str | None = None) -> None:
        """Add a mistake at `path`, unless it only follows from a missing variable or an unreadable value."""
        owner, inner = self._owner(path)
        if inner in owner._values.unresolved or owner._source.is_broken(inner):
            return
        self._reported.add(path)
        self.problems.append(
            Problem(
                path=path_text(inner),
                message=message,
                allowed=allowed,
                line=owner._source.line(inner),
                file=owner.file,
            )
        )

    def shown(self, path: KeyPath, value: Any) -> str:
        """Return the value at `path` as messages may show it.

        What holds something of the environment is told by the names of the variables: `${NAME}`.
        """
        owner, inner = self._owner(path)
        if inner in owner._values.secrets:
            names = variable_names(owner._values.secrets[inner])
            return "the value of " + " and ".join(f"${{{name}}}" for name in names)
        return quoted(value)

    def is_secret(self, path: KeyPath) -> bool:
        """Return whether the value at `path` holds something of the environment."""
        owner, inner = self._owner(path)
        return inner in owner._values.secrets

    def is_unresolved(self, path: KeyPath) -> bool:
        """Return whether the value at `path` waits for a variable, or could not be read."""
        owner, inner = self._owner(path)
        return inner in owner._values.unresolved or owner._source.is_broken(inner)

    def waits_below(self, path: KeyPath) -> bool:
        """Return whether the value at `path`, or one inside it, waits for a variable."""
        owner, inner = self._owner(path)
        return any(waiting[: len(inner)] == inner for waiting in owner._values.unresolved)

    def lacks_keys(self, path: KeyPath) -> bool:
        """Return whether a key of the mapping at `path` was refused, so that others may be there."""
        owner, inner = self._owner(path)
        return owner._source.lacks_keys(inner)

    def is_reported(self, path: KeyPath) -> bool:
        """Return whether a mistake at `path`, or inside it, was found."""
        return any(found[: len(path)] == path for found in self._reported)

    @property
    def is_full(self) -> bool:
        """Whether more mistakes were found than are listed."""
        return len(self.problems) > MAX_PROBLEMS

    def report_unresolved(self) -> None:
        """Report every value that waits for a variable, as what hinders checking."""
        for owner in (self, *self.mounted.values()):
            for path in sorted(owner._values.unresolved, key=path_text):
                owner.problems.append(
                    Problem(
                        path=path_text(path),
                        message="cannot be checked while its variable is not set",
                        line=owner._source.line(path),
                        file=owner.file,
                    )
                )
            if owner is not self:
                self.problems.extend(owner.problems)

    def mount(self, key: str, other: Document) -> None:
        """Put the content of `other` in the place of `key`."""
        self.mounted[key] = other
        self.data[key] = other.data
        self.problems.extend(other.problems)

    def _owner(self, path: KeyPath) -> tuple[Document, KeyPath]:
        other = self.mounted.get(str(path[0])) if path else None
        return (other, path[1:]) if other is not None else (self, path)


def open_document(
    text: str | bytes, *, file: str | None, env: Mapping[str, str], allow_unset: bool
) -> Document:
    """Return the document, with the mistakes in its YAML and its variables.

    Raises:
        LadderError: It cannot be read at all.
    """
    source, problems = read_yaml(text, file=file)
    values = substitute(source.data, env, allow_unset=allow_unset)
    for path, message, allowed in values.mistakes:
        problems.append(
            Problem(
                path=path_text(path),
                message=message,
                allowed=allowed,
                line=source.line(path),
                file=file,
            )
        )
    return Document(file=file, data=values.data, problems=problems, _source=source, _values=values)


def read_file(path: Path, *, shown: str) -> bytes:
    """Return what a file holds, one byte more than the largest size at most.

    Raises:
        LadderError: It cannot be read; the message names it as `shown`.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        why = (exc.strerror if isinstance(exc, OSError) else None) or "no such name"
        problem = Problem(path="", message=f"cannot be read: {why}", file=shown)
        raise LadderError([problem]) from exc
