"""Generates labelled pairs of prompts from hand-written templates: what the shipped pair scorers learn from.

A question is an intent (how, why, how long, …) with things filled in. Two wordings of one intent with the
same things are duplicates, also behind a polite opening, with a slip of the pen or in another order of
words. All else differs: another thing, intent, number, unit, date, direction or denial, or a condition more.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .pair_templates import INTENTS, Intent
from .pair_things import CONDITIONS, Words, phrases

__all__ = ["GeneratedPair", "generate_pairs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedPair:
    """A labelled pair.

    Attributes:
        a: The cached prompt.
        b: The prompt asked.
        duplicate: Whether an answer to `a` answers `b`.
        kind: How `b` was made.
    """

    a: str
    b: str
    duplicate: bool
    kind: str


_CONTEXTS = (
    "I live in a small town by the sea and work as a nurse. ",
    "My sister asked me this yesterday and I had no answer. ",
    "I am writing a school essay about everyday questions, with sources. ",
    "We are a team of four engineers who build bridges, and argue a lot. ",
    "Suppose you are a patient teacher who explains things to adults. ",
    "I have been thinking about this for a long time. ",
)
_MODIFIERS = phrases(
    """organic|electric|marine|medieval|wireless|frozen|commercial|portable|domestic|wild|industrial|vintage
    submersible|digital|municipal|homemade|inflatable|military|tropical|antique"""
)
_OPENINGS = (
    "Please tell me: ",
    "Could you tell me ",
    "Hi! ",
    "Hello, ",
    "I would like to know: ",
    "Quick question: ",
    "Can you help me? ",
    "I was wondering, ",
    "Hey, ",
)
_CLOSINGS = (" Thanks!", " Thank you.", " Please explain.", " Please.")
_OTHER_OPENINGS = (
    (
        "How do I ",
        "How did you|Why do I|When do I|Where do I|How often do I|Should I|Can I|Do I have to",
    ),
    (
        "How can I ",
        "How did I|Why can I|When can I|Where can I|Can I|Who can|How many can|Should I",
    ),
    ("How to ", "Why|When to|Where to|Who can|Should I|Do people|How many people"),
    ("How do you ", "How did you|Why do you|When do you|Do you|How often do you|Can you|Will you"),
    (
        "What is ",
        "Who is|Where is|When is|Why is|Was there|How much is|How old is|What was|What causes",
    ),
    ("What's ", "Who is|Where is|Why is|How is|What was"),
    ("Why is ", "When is|Is|Was|How is|Where is|How long is|Will"),
    ("Why are ", "When are|Are|Were|How many are|Where are|How are"),
    ("Can ", "Should|Why do|How many|Do|Will|When can|Could only|Did"),
    ("Is ", "Why is|When is|Was|How is|Where is|Will there be|How often is"),
    (
        "Who founded ",
        "Why did people found|When did people found|Who bought|Who sold|Who owns|Who left",
    ),
    ("Who is ", "Where is|Why is|Who was not|When is|How old is|Who knows"),
    ("Where can I ", "Why can I|When can I|How can I|Can I|Who can|How often can I"),
    ("How much does ", "Why does|When does|Where does|Does|How often does"),
    (
        "How long does it take to ",
        "What does it take to|Why does it take so long to|Who can|When to",
    ),
    ("How does ", "Why does|Does|When does|Where does|How often does|Who does"),
    ("Why do ", "Do|When do|How do|Where do|How many|Which"),
    ("Why should I ", "When should I|Should I|How should I|Where should I|Who should"),
    ("How should I ", "Why should I|When should I|Should I|Where should I"),
    ("Who discovered ", "When did they discover|Why did they discover|Who teaches|Who explained"),
)
_NUMBER_KINDS = ("convert", "list", "day")


def generate_pairs(n: int, *, seed: int = 0) -> Iterator[GeneratedPair]:
    """Yield labelled pairs, none twice; the same for the same seed.

    Args:
        n: How many.
        seed: Of what is drawn.
    """
    rng = random.Random(seed)  # noqa: S311  # nothing here is a secret
    makers = (*_SAME, *_DIFFERENT)
    weights = (*(1.0 for _ in _SAME), *(len(_SAME) / len(_DIFFERENT) for _ in _DIFFERENT))
    seen: set[tuple[str, str]] = set()
    while len(seen) < n:
        make = rng.choices(makers, weights)[0]
        intent = rng.choice(INTENTS)
        made = make(rng, intent)
        if made is None or made[0] == made[1] or made in seen:
            continue
        seen.add(made)
        before = rng.choice(_CONTEXTS) if rng.random() < 0.25 else ""
        yield GeneratedPair(
            a=before + made[0],
            b=before + made[1],
            duplicate=make in _SAME,
            kind=make.__name__.strip("_"),
        )


_Made = tuple[str, str] | None


def _worded(rng: random.Random, intent: Intent, words: Words, but: str = "") -> tuple[str, str]:
    """Return a question and the wording it was made from, another one than `but`."""
    wordings = [w for w in intent.wordings if w != but]
    wording = rng.choice(wordings)
    if intent.swap and rng.random() < 0.4:
        words = words[::-1]
    return wording.format(*words), wording


def _reworded(rng: random.Random, intent: Intent) -> _Made:
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    return first, _worded(rng, intent, words, used)[0]


def _polite(rng: random.Random, intent: Intent) -> _Made:
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    second = first if rng.random() < 0.4 else _worded(rng, intent, words, used)[0]
    if rng.random() < 0.7:
        second = rng.choice(_OPENINGS) + second[0].lower() + second[1:]
    else:
        second += rng.choice(_CLOSINGS)
    return (first, second) if rng.random() < 0.5 else (second, first)


def _typed(rng: random.Random, intent: Intent) -> _Made:
    """Case, punctuation, spaces."""
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    second = first if rng.random() < 0.6 else _worded(rng, intent, words, used)[0]
    kind = rng.randrange(4)
    if kind == 0:
        second = second.lower().rstrip("?.")
    elif kind == 1:
        second = second.rstrip("?.") + rng.choice(("", "??", " ?", "!", "..."))
    elif kind == 2:
        second = second.replace("What is", "Whats").replace("How do", "how do")
    else:
        second = second.upper() if '"' not in second else second.lower()
    return (first, second) if rng.random() < 0.5 else (second, first)


def _slipped(rng: random.Random, intent: Intent) -> _Made:
    """One slip of the pen in a long word."""
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    second = first if rng.random() < 0.6 else _worded(rng, intent, words, used)[0]
    long = [w for w in second.split() if len(w) > 6 and w.isalpha() and w.islower()]
    if not long or '"' in second:
        return None
    word = rng.choice(long)
    i = rng.randrange(1, len(word) - 2)
    slips = (
        word[:i] + word[i + 1] + word[i] + word[i + 2 :],
        word[:i] + word[i + 1 :],
        word[:i] + word[i] + word[i:],
    )
    return first, second.replace(word, rng.choice(slips), 1)


def _conditioned(rng: random.Random, intent: Intent) -> _Made:
    """The same condition on both."""
    words = intent.draw(rng)
    condition = rng.choice(phrases(CONDITIONS))
    first, used = _worded(rng, intent, words)
    second = _worded(rng, intent, words, used)[0]
    return _with(first, condition), _with(second, condition)


def _other_thing(rng: random.Random, intent: Intent) -> _Made:
    words, others = intent.draw(rng), intent.draw(rng)
    i = rng.randrange(len(words))
    changed = (*words[:i], others[i], *words[i + 1 :])
    if set(changed) == set(words) or len(set(changed)) < len(set(words)):
        return None
    first, used = _worded(rng, intent, words)
    second = used.format(*changed) if rng.random() < 0.6 else _worded(rng, intent, changed)[0]
    return first, second


def _other_intent(rng: random.Random, intent: Intent) -> _Made:
    family = [i for i in INTENTS if i.family == intent.family and i is not intent]
    if not family:
        return None
    words = intent.draw(rng)
    return _worded(rng, intent, words)[0], _worded(rng, rng.choice(family), words)[0]


def _other_frame(rng: random.Random, intent: Intent) -> _Made:
    """The same words behind another opening."""
    first, _ = _worded(rng, intent, intent.draw(rng))
    found = [(old, new) for old, new in _OTHER_OPENINGS if first.startswith(old)]
    if not found:
        return None
    old, new = rng.choice(found)
    second = rng.choice(new.split("|")) + " " + first[len(old) :]
    return (first, second) if rng.random() < 0.5 else (second, first)


def _other_person(rng: random.Random, intent: Intent) -> _Made:
    first, _ = _worded(rng, intent, intent.draw(rng))
    if '"' in first:
        return None  # "into French to you" says nothing
    if " my " in first and rng.random() < 0.7:
        second = first.replace(" my ", rng.choice((" your ", " his ", " their ")), 1)
    else:
        second = _with(first, rng.choice(("to you", "to me", "to them")))
    return (first, second) if rng.random() < 0.5 else (second, first)


def _one_condition(rng: random.Random, intent: Intent) -> _Made:
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    second = first if rng.random() < 0.6 else _worded(rng, intent, words, used)[0]
    second = _with(second, rng.choice(phrases(CONDITIONS)))
    return (first, second) if rng.random() < 0.5 else (second, first)


def _qualified(rng: random.Random, intent: Intent) -> _Made:
    """One is about a special kind of the thing."""
    words = intent.draw(rng)
    i = rng.randrange(len(words))
    word = words[i]
    if intent.family in ("translate", "convert", "clause", "compared") or not word.islower():
        return None
    special = rng.choice(_MODIFIERS)
    article, _, rest = word.partition(" ")
    if article in ("a", "an", "the"):
        word = f"{'the' if article == 'the' else 'a'} {special} {rest}"
    elif intent.family in ("act", "code"):
        head, _, last = word.rpartition(" ")
        word = f"{head} {special} {last}"
    else:
        word = f"{special} {word}"
    first, used = _worded(rng, intent, words)
    second = used if rng.random() < 0.6 else _worded(rng, intent, words, used)[1]
    second = second.format(*words[:i], word, *words[i + 1 :])
    return (first, second) if rng.random() < 0.5 else (second, first)


def _other_condition(rng: random.Random, intent: Intent) -> _Made:
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    second = first if rng.random() < 0.6 else _worded(rng, intent, words, used)[0]
    left, right = rng.sample(phrases(CONDITIONS), 2)
    return _with(first, left), _with(second, right)


def _denied(rng: random.Random, intent: Intent) -> _Made:
    first, _ = _worded(rng, intent, intent.draw(rng))
    for old, new in (
        ("How do I ", "How do I not "),
        ("Why is ", "Why isn't "),
        ("Why are ", "Why aren't "),
        ("Can ", "Can't "),
        ("Is ", "Isn't "),
        ("should I ", "should I never "),
        ("Why do ", "Why don't "),
        (" safe ", " unsafe "),
        (" to ", " not to "),
    ):
        if old in first:
            second = first.replace(old, new, 1)
            return (first, second) if rng.random() < 0.5 else (second, first)
    return None


def _turned(rng: random.Random, intent: Intent) -> _Made:
    """The two things change places where that changes the question."""
    words = intent.draw(rng)
    if intent.swap or intent.name not in ("compare", "convert"):
        return None
    turned = (words[1], words[0], *words[2:])
    if intent.name == "convert":
        turned = (words[0], words[2], words[1])
    first, used = _worded(rng, intent, words)
    return first, used.format(*turned)


def _other_number(rng: random.Random, intent: Intent) -> _Made:
    if intent.family not in _NUMBER_KINDS:
        return None
    words, others = intent.draw(rng), intent.draw(rng)
    first, used = _worded(rng, intent, words)
    if words[0] == others[0]:
        return None
    return first, used.format(others[0], *words[1:])


def _unrelated(rng: random.Random, intent: Intent) -> _Made:
    other = rng.choice(INTENTS)
    first, second = intent.draw(rng), other.draw(rng)
    if set(first) & set(second):
        return None
    return _worded(rng, intent, first)[0], _worded(rng, other, second)[0]


def _two_asked(rng: random.Random, intent: Intent) -> _Made:
    """One asks a second thing besides."""
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    other = rng.choice([i for i in INTENTS if i is not intent])
    second = first if rng.random() < 0.5 else _worded(rng, intent, words, used)[0]
    second += " " + _worded(rng, other, other.draw(rng))[0]
    return (first, second) if rng.random() < 0.5 else (second, first)


def _with(question: str, condition: str) -> str:
    end = question[-1] if question[-1] in "?." else ""
    return question.rstrip("?.") + " " + condition + end


_SAME = (_reworded, _polite, _typed, _slipped, _conditioned)
_DIFFERENT = (
    *(_other_frame, _other_frame, _other_intent, _other_person),
    *(_other_thing, _other_intent, _one_condition, _other_condition, _denied, _turned),
    *(_other_number, _unrelated, _two_asked, _qualified, _qualified),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print generated pairs, one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=8_000, help="how many pairs")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args(arguments)
    for pair in generate_pairs(wanted.n, seed=wanted.seed):
        told = {"a": pair.a, "b": pair.b, "duplicate": pair.duplicate, "kind": pair.kind}
        sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
