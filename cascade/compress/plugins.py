"""Stages that installed packages offer, under the entry point `cascade.compressors`.

An entry point names a function or class that is called with the stage's options and gives an object with
``name``, ``version`` and ``compress(text, *, question, budget)``: a text → a shorter text. LLMLingua is one
such function away (docs/compression.md). What it must not touch is not left to it: it is given only what
lies between protected parts, piece by piece.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Protocol

from ..errors import ConfigError
from ..fingerprint import digest
from .draft import Draft
from .protected import gaps

__all__ = ["COMPRESSOR_GROUP", "Plugin", "TextCompressor", "load_plugin"]

COMPRESSOR_GROUP = "cascade.compressors"
"""Entry-point group of the stages that installed packages offer."""

LEAST_CHARS = 200
"""Characters of a piece that is given to a plug-in."""

_log = logging.getLogger("cascade")


class TextCompressor(Protocol):
    """What an entry point makes."""

    name: str
    version: str

    def compress(self, text: str, *, question: str | None, budget: int | None) -> str:
        """Return a shorter text.

        Args:
            text: Plain text without anything protected in it.
            question: What is to be answered, or None.
            budget: About how many tokens it may be; None: as set in its options.
        """


class Plugin:
    """The stage around a plug-in. It is lossy, whatever the plug-in does.

    Args:
        name: Name of the entry point.
        compressor: What it made.
        options: What it was made with: with others it is another stage.
    """

    lossy = True

    def __init__(
        self,
        name: str,
        compressor: TextCompressor,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self._compressor = compressor
        self.version = f"plugin:1:{name}:{compressor.version}:{digest(dict(options))}"

    def apply(self, draft: Draft) -> str:
        """Give each piece between protected parts to the plug-in; return what was removed, in words."""
        budget = draft.budget
        tokens = draft.tokens() if budget is not None else 0
        if budget is not None and tokens <= budget:
            return ""
        share = None if budget is None else budget / max(tokens, 1)
        removed = 0
        for slot in draft.open_slots():
            if slot.role == "assistant" or len(slot.text) < LEAST_CHARS:
                continue
            pieces: list[str] = []
            at = 0
            for begin, end in gaps(slot.layout.whole, len(slot.text)):
                pieces += [slot.text[at:begin], self._shorter(draft, slot.text[begin:end], share)]
                at = end
            text = "".join([*pieces, slot.text[at:]])
            removed += len(slot.text) - len(text)
            slot.text = text
        return f"{removed:,} characters" if removed > 0 else ""

    def _shorter(self, draft: Draft, text: str, share: float | None) -> str:
        """Return a piece as the plug-in shortens it, or as it was if that fails or is no shorter."""
        bare = text.strip()
        if len(bare) < LEAST_CHARS:
            return text
        budget = None if share is None else max(1, int(share * draft.count(bare)))
        try:
            found = self._compressor.compress(bare, question=draft.question, budget=budget)
        except Exception as exc:  # noqa: BLE001 - somebody else's code must not cost anybody an answer
            _log.warning("compressor %s failed: %s", self.name, type(exc).__name__)
            draft.say(f"{self.name} failed ({type(exc).__name__})")
            return text
        if not isinstance(found, str) or not found.strip() or len(found) >= len(bare):
            return text
        begin = text.index(bare[0]) if bare else 0
        return f"{text[:begin]}{found}{text[begin + len(bare) :]}"


def load_plugin(name: str, options: Mapping[str, Any]) -> Plugin:
    """Return the stage that an installed package offers.

    Raises:
        ConfigError: There is none of that name, or it cannot be made.
    """
    offered = {point.name: point for point in entry_points(group=COMPRESSOR_GROUP)}
    point = offered.get(name)
    if point is None:
        known = ", ".join(sorted(offered)) or f"none is installed in the group {COMPRESSOR_GROUP}"
        raise ConfigError(
            f"no installed package offers a compressor {name!r:.60}; allowed: {known}"
        )
    try:
        made = point.load()(**options)
    except Exception as exc:
        raise ConfigError(f"compressor {name!r:.60} cannot be made ({type(exc).__name__})") from exc
    for attribute in ("version", "compress"):
        if not hasattr(made, attribute):
            raise ConfigError(f"compressor {name!r:.60} has no `{attribute}`")
    return Plugin(name, made, options)
