"""A request while stages work on it: its texts, which of them are whole in the way, and the question."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace as replace_layout
from typing import Any

from msgspec.structs import replace

from ..tokens import estimate_tokens
from ..types import Message, Request
from .protected import Layout, merge, read_layout
from .question import Question, find_question

__all__ = ["UNTOUCHED_ROLES", "Draft", "Slot", "text_slots"]

UNTOUCHED_ROLES = frozenset({"system", "developer"})
"""Who gives instructions: nothing they say is changed."""

SURELY = 2.5
"""Times the estimated tokens that a text has at most."""

_MOST_CHARS_A_TOKEN = 8

_TEXT_PARTS = ("text", "input_text")


class Slot:
    """One text of a request: the content of a message, or a text part of it.

    Attributes:
        message: Index of the message.
        part: Index of the part of its content; None: the content is this text.
        role: Who speaks.
        text: The text as it is now.
        frozen: Whether nothing of it may change: instructions, or a prefix that a provider caches.
    """

    __slots__ = (
        "_kept_to",
        "_layout",
        "_question",
        "_read",
        "frozen",
        "message",
        "part",
        "role",
        "text",
    )

    def __init__(self, message: int, part: int | None, role: str, text: str) -> None:
        self.message = message
        self.part = part
        self.role = role
        self.text = text
        self.frozen = role in UNTOUCHED_ROLES
        self._layout: Layout | None = None
        self._read = ""
        self._question = ""
        self._kept_to = 0

    def guard(self, question: str) -> None:
        """Protect the last occurrence of the question in this text."""
        self._question = question

    @property
    def layout(self) -> Layout:
        """What must not change in it, as it is now."""
        if self._layout is None or self._read != self.text:
            found = read_layout(self.text)
            place = self.question_at()
            own = [] if place is None else [(place, place + len(self._question))]
            own += [(0, self._kept_to)] if self._kept_to else []
            if own:
                found = replace_layout(
                    found, atoms=merge([*found.atoms, *own]), whole=merge([*found.whole, *own])
                )
            self._layout, self._read = found, self.text
        return self._layout

    @property
    def question_length(self) -> int:
        """Characters of the question in it; 0 when it is not in this text."""
        return len(self._question)

    def keep_beginning(self, end: int) -> None:
        """Protect the first `end` characters: a provider has them in its prompt cache."""
        self._kept_to = end
        self.frozen = self.frozen or end >= len(self.text)
        self._layout = None

    def question_at(self) -> int | None:
        """Return where the question begins in it; None when it is not in this text."""
        place = self.text.rfind(self._question) if self._question else -1
        return None if place < 0 else place


class Draft:
    """A request in the making.

    Args:
        request: What was asked.
        question: What is to be answered; None: it is looked for.
        count: Text → tokens.
        budget: Most tokens of text wanted by whoever asks; None: what the stages say.
        keep_prefix: Characters of its texts, from the first on, that stay as they are.
        tenant: Whose prompt it is, or None.

    Attributes:
        slots: Its texts in order.
        question: What is to be answered, or None when there is no such thing in it.
        question_is_guess: Whether only its place at the end tells that it is a question.
        dropped: Indices of messages that are left out.
        first_open: Index of the first message that may be left out: those before are in a prefix that
            stays as it is.
        note: Why less was done than was wanted, in words; "" for nothing to say.
    """

    def __init__(
        self,
        request: Request,
        *,
        question: str | None,
        count: Callable[[str], int],
        budget: int | None = None,
        keep_prefix: int = 0,
        tenant: str | None = None,
    ) -> None:
        self.request = request
        self.tenant = tenant
        self.slots = text_slots(request.messages)
        self.dropped: set[int] = set()
        self.first_open = 0
        self._mark: tuple[int, str] | None = None
        self.budget = budget
        self.note = ""
        self._count = count
        self._counted: dict[str, int] = {}
        found = find_question(self.slots_of_last_user(), question)
        self.question = found.text
        self.question_is_guess = found.is_guess
        self._place(found)
        if keep_prefix:
            self._keep_prefix(keep_prefix)

    def slots_of_last_user(self) -> list[Slot]:
        """Return the texts of the last user message; empty when it has none."""
        last = next(
            (i for i in reversed(range(len(self.request.messages))) if self._is_user(i)), None
        )
        return [slot for slot in self.slots if slot.message == last]

    def _is_user(self, index: int) -> bool:
        return self.request.messages[index].role == "user"

    def _place(self, found: Question) -> None:
        if found.slot is None or found.text is None:
            return
        if found.is_whole:
            found.slot.frozen = True
        found.slot.guard(found.text)

    def _keep_prefix(self, chars: int) -> None:
        for slot in self.slots:
            if chars <= 0:
                break
            slot.keep_beginning(min(chars, len(slot.text)))
            chars -= len(slot.text)
            self.first_open = slot.message + 1

    def mark_dropped(self, mark: str) -> None:
        """Put a mark in front of the first user message after the messages that are left out."""
        last = max(self.dropped, default=-1)
        after = range(last + 1, len(self.request.messages))
        place = next((i for i in after if self._is_user(i) and i not in self.dropped), None)
        if place is not None:
            self._mark = (place, mark)

    def open_slots(self) -> Iterator[Slot]:
        """Yield the texts that may change, in order."""
        return (s for s in self.slots if not s.frozen and s.message not in self.dropped)

    def kept_slots(self) -> Iterator[Slot]:
        """Yield the texts that are still in it, in order."""
        return (slot for slot in self.slots if slot.message not in self.dropped)

    def tokens(self) -> int:
        """Return the tokens of all its texts as they are now."""
        return sum(self.count(slot.text) for slot in self.kept_slots())

    def original_tokens(self) -> int:
        """Return the tokens of all texts of the request it was made from."""
        return sum(self.count(slot.text) for slot in text_slots(self.request.messages))

    def surely_within(self, budget: int) -> bool:
        """Return whether the texts can have no more tokens than that, without counting them.

        A token is at least one byte; and no text has been seen with `SURELY` times the tokens that
        are estimated.
        """
        if sum(len(slot.text) for slot in self.kept_slots()) > budget * _MOST_CHARS_A_TOKEN:
            return False
        found = 0.0
        for slot in self.kept_slots():
            found += min(_bytes(slot.text), SURELY * estimate_tokens(slot.text))
            if found > budget:
                return False
        return True

    def say(self, note: str) -> None:
        """Add to the note."""
        self.note = f"{self.note}; {note}" if self.note else note

    def count(self, text: str) -> int:
        """Return the tokens of a text; the counter is asked once, as it has to digest long ones."""
        found = self._counted.get(text)
        if found is None:
            found = self._counted[text] = self._count(text)
        return found

    def state(self) -> tuple[list[str], frozenset[int], tuple[int, str] | None, str]:
        """Return what `restore` takes the draft back to."""
        return [s.text for s in self.slots], frozenset(self.dropped), self._mark, self.note

    def restore(self, state: tuple[list[str], frozenset[int], tuple[int, str] | None, str]) -> None:
        """Undo everything that was done since."""
        texts, dropped, self._mark, self.note = state
        self.dropped = set(dropped)
        for slot, text in zip(self.slots, texts, strict=True):
            slot.text = text

    def finish(self) -> Request:
        """Return the request as it is now; the very one it was made from when nothing has changed."""
        messages = list(self.request.messages)
        changed = bool(self.dropped)
        for slot in self.slots:
            message = messages[slot.message]
            if _text_of(message, slot.part) != slot.text:
                messages[slot.message] = _with_text(message, slot)
                changed = True
        if not changed:
            return self.request
        if self._mark is not None:
            place, mark = self._mark
            messages[place] = _with_mark(messages[place], mark)
        kept = tuple(m for i, m in enumerate(messages) if i not in self.dropped)
        return replace(self.request, messages=kept)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def text_slots(messages: Sequence[Message]) -> list[Slot]:
    """Return the texts of messages in order: contents, and parts that are text and nothing else."""
    found: list[Slot] = []
    for i, message in enumerate(messages):
        content = message.content
        if isinstance(content, str):
            found.append(Slot(i, None, message.role, content))
            if (
                type(message) is not Message
            ):  # several questions at once, which are parted by their form
                found[-1].frozen = True
            continue
        found.extend(
            Slot(i, j, message.role, part["text"])
            for j, part in enumerate(content or ())
            if _is_plain_text(part)
        )
    return found


def _with_mark(message: Message, mark: str) -> Message:
    content = message.content
    if isinstance(content, str):
        return replace(message, content=f"{mark}\n\n{content}")
    return replace(message, content=[{"type": "text", "text": mark}, *(content or ())])


def _is_plain_text(part: Mapping[str, Any]) -> bool:
    """Whether a part is text and nothing but text: one with a mark for a prompt cache stays as it is."""
    return (
        isinstance(part, Mapping)
        and part.get("type") in _TEXT_PARTS
        and isinstance(part.get("text"), str)
        and "cache_control" not in part
    )


def _text_of(message: Message, part: int | None) -> str:
    content = message.content
    if part is None:
        assert isinstance(content, str)
        return content
    assert content is not None
    assert not isinstance(content, str)
    text: str = content[part]["text"]
    return text


def _with_text(message: Message, slot: Slot) -> Message:
    if slot.part is None:
        return replace(message, content=slot.text)
    assert message.content is not None
    assert not isinstance(message.content, str)
    parts = list(message.content)
    parts[slot.part] = {**parts[slot.part], "text": slot.text}
    return replace(message, content=parts)
