"""Reads YAML text into plain data, and remembers on which line every value stands.

Read as YAML 1.2 (core schema): `yes`, `on` and dates are text, `1e-3` is a number. Refused: tags,
duplicate keys, keys that are not text, several documents, and whatever would be dear to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..errors import LadderError, Problem
from .quoting import key_text

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_VALUES",
    "KeyPath",
    "YamlSource",
    "path_text",
    "read_yaml",
]

KeyPath = tuple[str | int, ...]
"""Where a value stands: mapping keys and list indices from the top."""

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
"""Nesting, aliases followed."""
MAX_VALUES = 20_000
"""Values in the file, each alias counted as all that it stands for."""

_MERGE = "<<"
_YAML_TAG = "tag:yaml.org,2002:"
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_UNSENDABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(slots=True)
class _Node:
    """A value. It is `broken` when it could not be read, or, of a mapping, when a key was refused."""

    value: Any
    line: int
    keys: dict[str, tuple[int, _Node]] | None = None
    items: list[_Node] | None = None
    size: int = 1
    height: int = 1
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlSource:
    """A YAML document as plain data.

    Attributes:
        data: The top mapping: dict, list, str, int, float, bool and None, nothing else.
    """

    data: dict[str, Any]
    _root: _Node = field(repr=False)

    def line(self, path: KeyPath) -> int:
        """Return the 1-based line of the value at `path`, or of the deepest part of it there is."""
        line, _, _ = self._deepest(path)
        return line

    def is_broken(self, path: KeyPath) -> bool:
        """Return whether the value at `path` only stands in for one that could not be read."""
        _, node, whole = self._deepest(path)
        return whole and node.broken and node.keys is None

    def lacks_keys(self, path: KeyPath) -> bool:
        """Return whether a key of the mapping at `path` was refused."""
        _, node, whole = self._deepest(path)
        return whole and node.broken and node.keys is not None

    def _deepest(self, path: KeyPath) -> tuple[int, _Node, bool]:
        """Return the line and the node of the deepest part of `path` there is, and if that is all of it."""
        node, line = self._root, self._root.line
        for part in path:
            if node.keys is not None and isinstance(part, str) and part in node.keys:
                line, node = node.keys[part]
            elif node.items is not None and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                line = node.line
            else:
                return line, node, False
        return line, node, True


def path_text(path: KeyPath) -> str:
    """Return a key path as messages show it.

    >>> path_text(("ladder", 1, "accept")), path_text(("policy", "accept", "gpt-4.1"))
    ('ladder[1].accept', 'policy.accept["gpt-4.1"]')
    """
    in_providers = path[:1] == ("providers",)
    return "".join(
        f"[{part}]"
        if isinstance(part, int)
        else key_text(part, depth=depth, in_providers=in_providers)
        for depth, part in enumerate(path)
    )


def read_yaml(text: str | bytes, *, file: str | None) -> tuple[YamlSource, list[Problem]]:
    """Return the document and the mistakes that do not hinder reading on.

    Raises:
        LadderError: The text cannot be read at all, or is not one mapping.
    """
    reader = _Reader(file)
    root = reader.read(_decoded(text, file))
    if root is None or root.value is None:
        raise _fatal(file, 1, "the file is empty", "a mapping with `providers` and `ladder`")
    if root.keys is None:
        given = "a list" if root.items is not None else "a single value"
        message = f"the file holds {given}"
        raise _fatal(file, root.line, message, "a mapping with `providers` and `ladder`")
    return YamlSource(data=root.value, _root=root), reader.problems


def _decoded(text: str | bytes, file: str | None) -> str:
    size = len(text)
    if size > MAX_BYTES:
        allowed = f"at most {MAX_BYTES:,} bytes"
        raise _fatal(file, None, "the file is too large for a ladder", allowed)
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = text.count(b"\n", 0, exc.start) + 1
        raise _fatal(file, line, f"byte 0x{text[exc.start]:02x} is not UTF-8", "UTF-8") from exc


def _fatal(file: str | None, line: int | None, message: str, allowed: str | None) -> LadderError:
    return LadderError([Problem(path="", message=message, allowed=allowed, line=line, file=file)])


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being read; `key` is the mapping's key that awaits its value."""

    node: _Node
    anchor: str | None
    key: tuple[str, int] | None = None
    awaits_value: bool = False


class _Reader:
    """Builds nodes from parser events with a stack of its own, so that no nesting can exhaust Python's."""

    def __init__(self, file: str | None) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Node | None] = {}  # None: still being read
        self._count = 0

    def read(self, text: str) -> _Node | None:
        root: _Node | None = None
        documents = 0
        for event in self._events(text):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    message = "a second document begins here"
                    raise _fatal(self._file, _line(event), message, "one document a file")
            node = self._step(event)
            if node is not None:
                self._bound(node, _line(event))
                if self._stack:
                    self._attach(node, event)
                else:
                    root = node
        return root

    def _events(self, text: str) -> Iterator[Any]:
        # The pure-Python parser: the same messages everywhere, and a file of the largest size
        # takes it a second at worst.
        try:
            yield from yaml.parse(text, Loader=yaml.SafeLoader)
        except yaml.reader.ReaderError as exc:
            line = text.count("\n", 0, exc.position) + 1
            code = exc.character if isinstance(exc.character, int) else ord(exc.character)
            message = f"character U+{code:04X} cannot stand in YAML"
            raise _fatal(self._file, line, message, "printable text") from exc
        except yaml.MarkedYAMLError as exc:
            mark = exc.problem_mark or exc.context_mark
            words = ", ".join(part for part in (exc.problem, exc.context) if part)
            words = re.sub(
                r"(tag handle) '.*'", r"\1", words
            )  # what looks like one may be a password
            line_or_none = mark.line + 1 if mark else None
            # `from None`: the parser's own text quotes the line, which may hold a key
            raise _fatal(self._file, line_or_none, f"not YAML: {words}", None) from None
        except (ValueError, OverflowError):  # "\U99999999": the parser does not know the range
            message = "not YAML: a number in it is out of range"
            raise _fatal(self._file, None, message, None) from None

    def _step(self, event: Any) -> _Node | None:
        """Return the node that `event` completes, if any."""
        line = _line(event)
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            self._count += 1
            if self._count > MAX_VALUES:
                raise _fatal(self._file, line, "too many values", f"at most {MAX_VALUES:,}")
            if event.tag is not None:
                # Another tag than YAML's own may be a password that begins with "!".
                own = event.tag.startswith(_YAML_TAG)
                shown = f"the tag !!{event.tag.removeprefix(_YAML_TAG)[:60]}" if own else "a tag"
                self._problem(line, f"{shown} is not allowed", "values without tags, or quotes")
        if isinstance(event, yaml.ScalarEvent):
            found = len(self.problems)
            node = _Node(self._scalar(event, line), line)
            node.broken = len(self.problems) > found
            if event.anchor:
                self._anchors[event.anchor] = node
            return node
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self._stack) >= MAX_DEPTH:
                raise _fatal(self._file, line, "nested too deep", f"at most {MAX_DEPTH} levels")
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            node = _Node({}, line, keys={}) if is_mapping else _Node([], line, items=[])
            self._stack.append(_Frame(node, event.anchor))
            if event.anchor:
                self._anchors[event.anchor] = None
            return None
        if isinstance(event, yaml.CollectionEndEvent):
            frame = self._stack.pop()
            if frame.anchor:
                self._anchors[frame.anchor] = frame.node
            return frame.node
        if isinstance(event, yaml.AliasEvent):
            name = event.anchor or ""
            known = self._anchors.get(name)
            if known is None:
                inside = name in self._anchors
                why = "refers to what it is part of" if inside else "refers to no anchor"
                # Without its name: it may be a password that begins with "*".
                self._problem(line, f"the alias (*) {why}", "an anchor (&) before it, or quotes")
                return _Node(None, line, broken=True)
            return known
        return None

    def _bound(self, node: _Node, line: int) -> None:
        if not self._stack:
            return
        parent = self._stack[-1].node
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if parent.size > MAX_VALUES:
            allowed = f"at most {MAX_VALUES:,} values"
            raise _fatal(self._file, line, "too large when its aliases are followed", allowed)
        if parent.height > MAX_DEPTH:
            raise _fatal(self._file, line, "nested too deep", f"at most {MAX_DEPTH} levels")

    def _attach(self, node: _Node, event: Any) -> None:
        frame = self._stack[-1]
        if frame.node.items is not None:
            frame.node.items.append(node)
            frame.node.value.append(node.value)
        elif frame.awaits_value:
            if frame.key is not None and frame.node.keys is not None:
                key, line = frame.key
                frame.node.keys[key] = (line, node)
                frame.node.value[key] = node.value
            frame.key, frame.awaits_value = None, False
        else:
            frame.key, frame.awaits_value = self._key(frame.node, node, event), True

    def _key(self, mapping: _Node, node: _Node, event: Any) -> tuple[str, int] | None:
        """Return the key to store the next value under; None when it is refused."""
        line = _line(event)
        keys = mapping.keys or {}
        if not isinstance(event, yaml.ScalarEvent) or not isinstance(node.value, str):
            self._problem(line, "a key that is not text", "text; put it in quotes")
            mapping.broken = True
            return None
        key = node.value
        if key == _MERGE and event.style is None:
            self._problem(line, "merge keys (<<) are not read", "the keys written out")
            mapping.broken = True
            return None
        if key in keys:
            message = f"the key is already on line {keys[key][0]}"
            self._problem(line, message, "each key once", (key,))
            return None
        return key, line

    def _scalar(self, event: Any, line: int) -> Any:
        text: str = event.value
        if _SURROGATE.search(text):  # as JSON writes what is beyond 16 bits: "\ud83d\ude00"
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        if _UNSENDABLE.search(text):
            self._problem(line, "the text holds NUL or half a surrogate pair", "whole characters")
            return ""
        if event.style is not None or event.tag is not None:
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _INT.fullmatch(text):
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            value = int(text, base) if len(text) <= 30 else None
            if value is None or not -(2**63) <= value < 2**63:
                self._problem(line, "the number has too many digits", "a number of 64 bits")
                return 0
            return value
        if _FLOAT.fullmatch(text):
            return float(text)
        return float(text.replace(".", "", 1)) if _INFINITE.fullmatch(text) else text

    def _problem(self, line: int, message: str, allowed: str | None, more: KeyPath = ()) -> None:
        path: KeyPath = ()
        for frame in self._stack:
            if frame.node.items is not None:
                path = (*path, len(frame.node.items))
            elif frame.key is not None:
                path = (*path, frame.key[0])
        self.problems.append(
            Problem(
                path=path_text((*path, *more)),
                message=message,
                allowed=allowed,
                line=line,
                file=self._file,
            )
        )


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
