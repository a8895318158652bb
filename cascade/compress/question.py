"""What a prompt asks: found at the end of the last user message, where a long one has a context before it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .draft import Slot

__all__ = ["Question", "find_question"]

WHOLE_CHARS = 400
"""A last user message up to this length is a question as a whole."""

LONGEST_CHARS = 2_000
"""Of a paragraph that is taken for the question."""

_LABEL = re.compile(
    r"^[ \t>*#_]*(?:question|query|task|instructions?|q|user|frage|aufgabe|pregunta|tarea|domanda|"
    r"pergunta|вопрос|задание|问题|問題|質問|질문|سؤال|السؤال|प्रश्न)[ \t*_]*\d*[ \t*_]*[:：.)]",
    re.IGNORECASE | re.MULTILINE,
)
_MARK = re.compile(r"[?？؟⁇]")
_PARAGRAPH = re.compile(r"(?:^|\n)[ \t]*\n|\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was found.

    Attributes:
        text: The question; None when there is none.
        slot: The text it stands in; None when it was given apart and stands in none.
        is_whole: Whether it is all of that text.
        is_guess: Whether nothing but its place at the end tells that it is one: it is protected, but
            what shares a word with it need not be kept.
    """

    text: str | None
    slot: Slot | None = None
    is_whole: bool = False
    is_guess: bool = False


def find_question(slots: Sequence[Slot], given: str | None) -> Question:
    """Return the question of a prompt.

    The last user text with anything in it is looked at. All of it is the question up to
    `WHOLE_CHARS` characters; of a longer one it is what follows the last label (``Question:``, ``Q:``,
    in several languages), else the last paragraph with a question mark among the last three, else the
    first paragraph if it has one, else the last paragraph; none longer than `LONGEST_CHARS`.

    Args:
        slots: Texts of the last user message.
        given: The question as the caller knows it; it wins, and where it stands in a text it is
            protected there.
    """
    texts = [slot for slot in slots if slot.text.strip()]
    if given is not None and given.strip():
        home = next((slot for slot in reversed(texts) if given in slot.text), None)
        whole = home is not None and home.text.strip() == given.strip()
        return Question(text=given, slot=home, is_whole=whole)
    if not texts:
        return Question(text=None)
    slot = texts[-1]
    if len(slot.text) <= WHOLE_CHARS:
        return Question(text=slot.text, slot=slot, is_whole=True)
    begin, end, is_guess = _place(slot.text)
    found = slot.text[begin:end]
    if not found:
        return Question(text=None)
    return Question(text=found, slot=slot, is_whole=found == slot.text, is_guess=is_guess)


def _place(text: str) -> tuple[int, int, bool]:
    """Return where the question begins and ends, and whether that is a guess."""
    end = len(text.rstrip())
    label = None
    for match in _LABEL.finditer(text, max(0, end - LONGEST_CHARS)):
        label = match
    if label is not None and label.end() < end:
        return label.start(), end, False
    paragraphs = _last_paragraphs(text, end)
    for begin, stop in paragraphs:
        if _MARK.search(text, begin, stop) and stop - begin <= LONGEST_CHARS:
            return begin, end if end - begin <= LONGEST_CHARS else stop, False
    head = text.find("\n\n", len(text) - len(text.lstrip()))
    if 0 < head <= LONGEST_CHARS and _MARK.search(text, 0, head):
        return 0, head, False
    begin, stop = paragraphs[0]
    if stop - begin <= LONGEST_CHARS:
        return begin, stop, True
    return (*_last_sentence(text, begin, stop), False)


def _last_paragraphs(text: str, end: int, most: int = 3) -> list[tuple[int, int]]:
    """Return the last paragraphs, last first."""
    found: list[tuple[int, int]] = []
    while end > 0 and len(found) < most:
        begin = text.rfind("\n\n", 0, end)
        begin = 0 if begin < 0 else begin + 2
        found.append((begin, end))
        end = len(text[:begin].rstrip()) if begin else 0
    return found


def _last_sentence(text: str, begin: int, end: int) -> tuple[int, int]:
    """Return the last sentence with a question mark near the end of a long paragraph; else nothing."""
    tail = max(begin, end - LONGEST_CHARS)
    marks = [match.end() for match in _MARK.finditer(text, tail, end)]
    if not marks:
        return end, end
    before = [m.end() for m in re.finditer(r"[.!?。！？؟\n]\s*", text[tail : marks[-1] - 1])]
    return tail + (before[-1] if before else 0), marks[-1]
