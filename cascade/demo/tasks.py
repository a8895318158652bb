"""Make the demo's questions, put them to a model, and decide whether an answer is right.

Each builder below makes one kind of question of its ingredients; `numbered` gives a kind its ids.
Right or wrong is decided by comparison alone: no model judges, and no answer is ever executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = [
    "EXAMPLES",
    "INTENTS",
    "LANGUAGES",
    "MAX_TOKENS",
    "SYSTEM",
    "Check",
    "Question",
    "about",
    "asks",
    "code_prints",
    "how_many",
    "intent",
    "is_right",
    "json_object",
    "language",
    "messages",
    "numbered",
    "response_format",
    "sentiment",
]

SYSTEM = "You answer questions. Give only the answer, as short as possible."
MAX_TOKENS = 64
"""Output limit of one answer in tokens; the longest right answer needs about 40."""

Check = Literal["label", "number", "text", "exact", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question with a checkable answer.

    Attributes:
        id: Kind and number, such as `facts-2`; unique, and empty until `numbered` sets it.
        kind: The task that it is an example of; set by `numbered`.
        prompt: What the model is asked, without the system message.
        check: How an answer is compared: `label` (of `options`, the answer names this one and no
            other), `number` (the last number in it), `text` (contains an accepted phrase as whole
            words, case ignored), `exact` (equals an accepted answer but for case, quotes, code
            fences and a closing stop), `json` (an object equal to `fields`, extra keys refused).
        accepted: The right answers for every check but `json`.
        options: All the labels, for `label`.
        fields: The object wanted, for `json`; its value types make the schema of the request.
    """

    id: str = ""
    kind: str = ""
    prompt: str
    check: Check
    accepted: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    fields: Mapping[str, str | int | bool] | None = None


def messages(question: Question) -> list[dict[str, str]]:
    """Return the chat that puts the question: the system message, `EXAMPLES`, then the prompt.

    The part before the prompt is the same for every question, so a server reads it only once.
    """
    chat = [{"role": "system", "content": SYSTEM}]
    for asked, answer in EXAMPLES:
        chat.append({"role": "user", "content": asked})
        chat.append({"role": "assistant", "content": answer})
    return [*chat, {"role": "user", "content": question.prompt}]


def response_format(question: Question) -> dict[str, Any] | None:
    """Return the `response_format` of the request: a JSON schema for `json`, else None."""
    if question.fields is None:
        return None
    types = {bool: "boolean", int: "integer", str: "string"}
    schema = {
        "type": "object",
        "properties": {name: {"type": types[type(v)]} for name, v in question.fields.items()},
        "required": list(question.fields),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def is_right(question: Question, text: str) -> bool:
    """Tell whether `text` answers the question, by the check that the question names.

    >>> is_right(how_many("What is 2 + 3?", 5), "2 + 3 = 5.")
    True
    >>> is_right(sentiment("Good.", "positive"), "positive or negative")
    False
    """
    if question.check == "json":
        return _same_object(question.fields, text)
    if question.check == "label":
        named = {option for option in question.options if _says(text, option)}
        return named == set(question.accepted)
    if question.check == "number":
        numbers = re.findall(r"-?\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", text))
        return bool(numbers) and float(numbers[-1]) in {float(a) for a in question.accepted}
    if question.check == "exact":
        return _bare(text) in {_bare(a) for a in question.accepted}
    return any(_says(text, accepted) for accepted in question.accepted)


def _says(text: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) is not None


def _bare(text: str) -> str:
    text = re.sub(r"^```\w*\n|\n?```$", "", text.strip()).strip()
    return text.removesuffix(".").strip("\"'` ").casefold()


def _same_object(wanted: Mapping[str, str | int | bool] | None, text: str) -> bool:
    try:
        found = json.loads(re.sub(r"^```\w*\n|\n?```$", "", text.strip()))
    except ValueError:
        return False
    if not isinstance(found, dict) or wanted is None or found.keys() != wanted.keys():
        return False
    return all(
        type(found[k]) is type(v) and str(found[k]).strip().casefold() == str(v).casefold()
        for k, v in wanted.items()
    )


INTENTS = ("billing", "delivery", "login", "bug")
LANGUAGES = ("Spanish", "French", "German", "Italian", "Dutch", "Polish")


def numbered(kind: str, questions: Iterable[Question]) -> tuple[Question, ...]:
    """Return the questions as `kind`, with the ids `kind-1`, `kind-2` and so on."""
    return tuple(
        replace(question, id=f"{kind}-{n}", kind=kind) for n, question in enumerate(questions, 1)
    )


def sentiment(review: str, answer: str) -> Question:
    """Ask whether a review is positive or negative."""
    prompt = f'Is this review positive or negative?\n\n"{review}"'
    return Question(
        prompt=prompt, check="label", accepted=(answer,), options=("positive", "negative")
    )


def intent(message: str, answer: str) -> Question:
    """Ask which of `INTENTS` a customer's message is about."""
    prompt = f'Is this customer\'s message about billing, delivery, login or a bug?\n\n"{message}"'
    return Question(prompt=prompt, check="label", accepted=(answer,), options=INTENTS)


def language(sentence: str, answer: str) -> Question:
    """Ask which of `LANGUAGES` a sentence is written in."""
    prompt = f'Which language is this? Choose from {", ".join(LANGUAGES)}.\n\n"{sentence}"'
    return Question(prompt=prompt, check="label", accepted=(answer,), options=LANGUAGES)


def about(text: str, question: str, *accepted: str, check: Check = "text") -> Question:
    """Ask something that a short text answers."""
    return Question(prompt=f"{text}\n\n{question}", check=check, accepted=accepted)


def asks(question: str, *accepted: str, check: Check = "text") -> Question:
    """Ask something without a text."""
    return Question(prompt=question, check=check, accepted=accepted)


def how_many(question: str, answer: int) -> Question:
    """Ask for a number."""
    return Question(prompt=question, check="number", accepted=(str(answer),))


def json_object(text: str, **fields: str | int | bool) -> Question:
    """Ask for what a text says as a JSON object with the names and values of `fields`."""
    prompt = f"Write what this says as a JSON object with the keys {', '.join(fields)}.\n\n{text}"
    return Question(prompt=prompt, check="json", fields=fields)


def code_prints(code: str, answer: str) -> Question:
    """Ask what a piece of Python prints."""
    prompt = f"What does this Python code print?\n\n```python\n{code}\n```"
    return Question(prompt=prompt, check="exact", accepted=(answer,))


EXAMPLES: tuple[tuple[str, str], ...] = tuple(
    (question.prompt, answer)
    for question, answer in (
        (sentiment("The zip broke within a week.", "negative"), "negative"),
        (intent("I was charged twice this month.", "billing"), "billing"),
        (language("Quiero un vaso de agua.", "Spanish"), "Spanish"),
        (about("Ms Hale sold the boat to Mr Ito.", "Who bought it? Give the name."), "Mr Ito"),
        (
            json_object("The red cap costs 9 dollars.", color="red", price=9),
            '{"color": "red", "price": 9}',
        ),
        (how_many("What is 14 + 8?", 22), "22"),
        (asks("What is the capital of Norway?"), "Oslo"),
        (about("The pool is shut on Mondays.", "Is it open on Monday? Answer yes or no."), "no"),
        (code_prints("print(2 * 3)", "6"), "6"),
        (asks("Give the plural of the word 'box'."), "boxes"),
    )
)
"""One example of each kind and its answer, shown before every question; none is ever asked."""
