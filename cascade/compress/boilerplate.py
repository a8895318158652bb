"""Keeps once what most prompts of a tenant have in common: headers, disclaimers, repeated instructions.

Such text is known from a log (`cascade compress --learn`), so that it may be short and still be left out where
it stands a second time in the same prompt; its first place stays as it is.
"""

from __future__ import annotations

from .dedupe import MARK
from .draft import Draft, Slot
from .learned import Learned, passage_digest
from .protected import Span, overlapping
from .rendering import with_mark

__all__ = ["Boilerplate", "lines_of"]

LEAST_CHARS = 12
"""Characters of a line that may be boilerplate."""


class Boilerplate:
    """The lossless stage that knows what prompts share.

    Args:
        learned: What was learned from the log.
    """

    name = "boilerplate"
    lossy = False

    def __init__(self, learned: Learned) -> None:
        self._learned = learned
        self.version = f"boilerplate:1:{learned.version}"

    def apply(self, draft: Draft) -> str:
        """Leave out every known line but the first of its kind; return what was removed, in words."""
        known = self._learned.of_tenant(draft.tenant)
        seen: set[str] = set()
        gone = 0
        for slot in draft.kept_slots():
            cuts: list[Span] = []
            for begin, end in lines_of(slot.text):
                if end - begin < LEAST_CHARS:
                    continue
                digest = passage_digest(slot.text[begin:end])
                if digest not in known:
                    continue
                if digest in seen and not slot.frozen and _is_free(slot, begin, end):
                    cuts.append((begin, end))
                seen.add(digest)
            if cuts:
                gone += len(cuts)
                slot.text = with_mark(slot.text, cuts, MARK)
        return f"{gone:,} repeated lines that most prompts have" if gone else ""


def lines_of(text: str) -> list[Span]:
    """Return the lines of a text that are not blank, each with its line break."""
    found: list[Span] = []
    at = 0
    while at < len(text):
        stop = text.find("\n", at)
        stop = len(text) if stop < 0 else stop + 1
        if not text[at:stop].isspace():
            found.append((at, stop))
        at = stop
    return found


def _is_free(slot: Slot, begin: int, end: int) -> bool:
    return next(overlapping(slot.layout.whole, begin, end), None) is None
