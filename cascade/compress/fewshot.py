"""Keeps of solved examples those that help most: the nearest to the question, or a set that was learned.

Examples in a text are found by their labels, those of a chat by its turns (`cascade.compress.examples`).
An example with something protected in it stays, unless it is said that whole examples may go.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .draft import Draft, Slot
from .examples import chat_examples, example_blocks
from .learned import Learned, example_digest
from .ranking import rank
from .rendering import with_mark

__all__ = ["Examples"]

KEEP = 4
MARK = "[…]"


class Examples:
    """The lossy stage for few-shot prompts.

    Args:
        keep: Examples to keep, >= 1.
        learned: What was learned from a log: those it names are kept, the same for every prompt; None:
            the nearest to the question are.
        whole: Whether an example may go that holds code, a quotation or another thing that is protected
            everywhere else: as a whole it is neither changed nor cut.

    Raises:
        ValueError: `keep` is not positive.
    """

    name = "examples"
    lossy = True

    def __init__(
        self, *, keep: int = KEEP, learned: Learned | None = None, whole: bool = False
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep: {keep!r} given; allowed: a number of examples >= 1")
        self._keep = keep
        self._learned = learned
        self._whole = whole
        by = "nearest" if learned is None else learned.version
        self.version = f"examples:1:{keep}:{by}:{whole:d}"

    def apply(self, draft: Draft) -> str:
        """Leave out all but some examples; return what was removed, in words."""
        gone = total = 0
        turns = chat_examples(draft.request.messages)
        if turns:
            total = len(turns)
            gone = self._of_chat(draft, turns)
        else:
            for slot in draft.open_slots():
                if slot.role == "user" and ":" in slot.text:
                    found, cut = self._of_text(draft, slot)
                    total += found
                    gone += cut
        return f"{gone:,} of {total:,} examples" if gone else ""

    def _of_text(self, draft: Draft, slot: Slot) -> tuple[int, int]:
        blocks = example_blocks(slot.text, slot.question_at())
        if len(blocks) <= self._keep:
            return len(blocks), 0
        texts = [slot.text[begin:end] for begin, end in blocks]
        kept = self._chosen(texts, draft.question)
        whole = slot.layout.whole
        cuts = [
            (begin, end)
            for i, (begin, end) in enumerate(blocks)
            if i not in kept and (self._whole or not _touches(whole, begin, end))
        ]
        if cuts:
            slot.text = with_mark(slot.text, cuts, MARK)
        return len(blocks), len(cuts)

    def _of_chat(self, draft: Draft, turns: Sequence[int]) -> int:
        if len(turns) <= self._keep:
            return 0
        contents = [message.content for message in draft.request.messages]
        texts = [f"{contents[i]}\n{contents[i + 1]}" for i in turns]
        kept = self._chosen(texts, draft.question)
        own = {slot.message: slot for slot in draft.slots}
        gone = 0
        for k, i in enumerate(turns):
            if k in kept or i < draft.first_open:
                continue
            if not self._whole and any(own[j].layout.whole for j in (i, i + 1)):
                continue
            draft.dropped.update((i, i + 1))
            gone += 1
        return gone

    def _chosen(self, texts: Sequence[str], question: str | None) -> Collection[int]:
        if self._learned is not None:
            wanted = self._learned.examples
            known = {i for i, text in enumerate(texts) if example_digest(text) in wanted}
            if known:
                return known
        order = rank(texts, question).order
        return set(order[: self._keep])


def _touches(whole: Sequence[tuple[int, int]], begin: int, end: int) -> bool:
    from .protected import overlapping

    return next(overlapping(whole, begin, end), None) is not None
