"""Solved examples in front of a question: in the text of a prompt, or as turns of a chat before the last."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..types import Message
from .protected import Span

__all__ = ["chat_examples", "example_blocks"]

LEAST = 3
"""Blocks of the same form that are taken for examples; fewer may be anything."""

_LABEL = re.compile(r"\n(?=[ \t>*#]{0,6}([^\W\d_][\w ]{0,24}?)[ \t]{0,2}\d{0,4}[ \t*]{0,3}[:：])")


def example_blocks(text: str, question_at: int | None = None) -> list[Span]:
    """Return where solved examples are in a text, in order: blocks that begin with the same label.

    The label that begins most blocks makes them (``Q:``, ``Input:``, ``Example 3:``); each block has at
    least a second label or line in it, which is the solution. The last one is left out if the question is
    in it, or if it is without the second label of the others: that is what is to be answered.

    Args:
        text: The text of a user message.
        question_at: Where the question begins; examples end before it.
    """
    end = len(text) if question_at is None else question_at
    lined = "\n" + text
    places: dict[str, list[int]] = {}
    labels: list[tuple[int, str]] = []
    for match in _LABEL.finditer(lined, 0, end + 1):
        label = match.group(1).strip().lower()
        places.setdefault(label, []).append(match.start())
        labels.append((match.start(), label))
    opening = _opening(places)
    if opening is None:
        return []
    begins = [*places[opening], end]
    blocks = [
        (begins[i], begins[i + 1]) for i in range(len(begins) - 1) if begins[i] < begins[i + 1]
    ]
    inside: list[set[str]] = [set() for _ in blocks]
    block = 0
    for place, label in labels:
        while block < len(blocks) and blocks[block][1] <= place:
            block += 1
        if block < len(blocks) and blocks[block][0] < place:
            inside[block].add(label)
    # The solution has the label that most blocks have.
    counts: dict[str, int] = {}
    for found in inside:
        for label in found:
            counts[label] = counts.get(label, 0) + 1
    if not counts:
        return []
    solution = max(counts, key=lambda label: (counts[label], label))
    solved = [block for block, found in zip(blocks, inside, strict=True) if solution in found]
    if question_at is None and blocks and solved and solved[-1] == blocks[-1]:
        tail = text[blocks[-1][0] :].rstrip()
        if tail.endswith((":", "：")):  # "… A:" waits for its answer
            solved.pop()
    return solved if len(solved) >= LEAST else []


def _opening(places: dict[str, list[int]]) -> str | None:
    """Return the label that begins the examples: the most frequent, and of these the first in the text."""
    often = [label for label, found in places.items() if len(found) >= LEAST]
    return max(often, key=lambda label: (len(places[label]), -places[label][0]), default=None)


def chat_examples(messages: Sequence[Message]) -> list[int]:
    """Return the indices of user messages that, with the assistant's next, are examples.

    Those are pairs of plain text in front of the last user message, directly after the instructions,
    `LEAST` or more, with answers that are alike in form: the longest has at most 400 characters. A
    conversation whose answers are long is no row of examples.
    """
    i = 0
    while i < len(messages) and messages[i].role in ("system", "developer"):
        i += 1
    found: list[int] = []
    while i + 2 < len(messages):
        asked, answered = messages[i], messages[i + 1]
        if asked.role != "user" or answered.role != "assistant":
            return []
        if not isinstance(asked.content, str) or not isinstance(answered.content, str):
            return []
        if answered.extra or len(answered.content) > 400:
            return []
        found.append(i)
        i += 2
    return found if len(found) >= LEAST and i + 1 == len(messages) else []
