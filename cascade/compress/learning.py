"""Learns from a log of prompts what most of them share, and which of their examples are worth keeping.

Boilerplate is a line that at least `SHARE` of a tenant's prompts have. Examples are chosen greedily (the
methods of FrugalGPT's prompt selection, without asking a model): from all of them the one goes whose loss
takes least from how near the nearest example is to each question, weighed by how often the log's answers
to it were wrong; until `keep` are left. Whether that does harm is for `cascade tune --compress` to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..types import Message
from .boilerplate import LEAST_CHARS, lines_of
from .draft import text_slots
from .examples import chat_examples, example_blocks
from .learned import EVERY_TENANT, SCHEMA, Learned, example_digest, passage_digest
from .question import find_question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Logged", "greedy_examples", "learn"]

SHARE = 0.5
LEAST_PROMPTS = 20
"""Prompts of a tenant from which anything is learned."""

MOST_QUESTIONS = 2_000
"""Questions that examples are compared with; of more, evenly spread ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One prompt of a log.

    Attributes:
        messages: What was asked.
        tenant: Whose it was, or None.
        wrong: How wrong the log's answers to it were on average, in [0, 1]; None where nobody knows.
    """

    messages: Sequence[Message]
    tenant: str | None = None
    wrong: float | None = None


def learn(prompts: Iterable[Logged], *, keep: int = 4, share: float = SHARE) -> Learned:
    """Return what can be learned from logged prompts.

    Args:
        prompts: The log.
        keep: Examples to keep.
        share: Share of a tenant's prompts that have a line of boilerplate at least, in (0, 1].

    Raises:
        ValueError: A number is out of range.
    """
    if keep < 1 or not 0.0 < share <= 1.0:
        raise ValueError(f"keep: {keep!r} and share: {share!r} given; allowed: >= 1 and in (0, 1]")
    lines: dict[str, Counter[str]] = {}
    sizes: Counter[str] = Counter()
    examples: dict[str, str] = {}
    questions: list[str] = []
    weights: list[float] = []
    for logged in prompts:
        texts = [slot.text for slot in text_slots(logged.messages)]
        found = {
            passage_digest(text[begin:end])
            for text in texts
            for begin, end in lines_of(text)
            if end - begin >= LEAST_CHARS
        }
        for tenant in {EVERY_TENANT, logged.tenant or EVERY_TENANT}:
            sizes[tenant] += 1
            lines.setdefault(tenant, Counter()).update(found)
        own, question = _examples(logged.messages)
        if own and question:
            examples.update((example_digest(example), example) for example in own)
            questions.append(question)
            weights.append(1.0 if logged.wrong is None else 0.1 + logged.wrong)
    boilerplate = {
        tenant: frozenset(line for line, n in counts.items() if n >= share * sizes[tenant])
        for tenant, counts in lines.items()
        if sizes[tenant] >= LEAST_PROMPTS
    }
    kept = greedy_examples(list(examples.values()), questions, weights, keep)
    return Learned(
        schema=SCHEMA,
        prompts=sizes[EVERY_TENANT],
        boilerplate={tenant: found for tenant, found in boilerplate.items() if found},
        examples=frozenset(example_digest(example) for example in kept),
    )


def greedy_examples(
    examples: Sequence[str], questions: Sequence[str], weights: Sequence[float], keep: int
) -> list[str]:
    """Return the examples that are left when the least needed go one by one, in their order.

    Args:
        examples: All of them.
        questions: What was asked with them.
        weights: Weight of each question, > 0.
        keep: How many are left.
    """
    if len(examples) <= keep or not questions:
        return list(examples)
    import numpy as np

    step = max(1, len(questions) // MOST_QUESTIONS)
    near = _nearness(examples, questions[::step])  # shape (n_questions, n_examples)
    weight = np.asarray(weights[::step])
    left = list(range(len(examples)))
    while len(left) > keep:
        ordered = np.sort(near[:, left], axis=1)
        best, second = ordered[:, -1], ordered[:, -2]
        holder = near[:, left].argmax(axis=1)
        loss = np.bincount(holder, weights=weight * (best - second), minlength=len(left))
        left.pop(int(loss.argmin()))
    return [examples[i] for i in left]


def _nearness(examples: Sequence[str], questions: Sequence[str]) -> NDArray[np.float64]:
    """Return the cosine of TF-IDF between questions and examples. Shape (n_questions, n_examples)."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    both = vectors.fit_transform([*questions, *examples])
    asked, solved = both[: len(questions)], both[len(questions) :]
    return np.asarray((asked @ solved.T).todense())


def _examples(messages: Sequence[Message]) -> tuple[list[str], str | None]:
    """Return the examples of a prompt, as the stage sees them, and its question."""
    slots = text_slots(messages)
    last = next((i for i in reversed(range(len(messages))) if messages[i].role == "user"), None)
    question = find_question([slot for slot in slots if slot.message == last], None)
    turns = chat_examples(messages)
    if turns:
        return [f"{messages[i].content}\n{messages[i + 1].content}" for i in turns], question.text
    found: list[str] = []
    for slot in slots:
        if slot.role == "user":
            at = slot.text.rfind(question.text) if question.slot is slot and question.text else None
            found += [slot.text[begin:end] for begin, end in example_blocks(slot.text, at)]
    return found, question.text
