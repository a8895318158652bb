"""The questions that pairs are generated from: intents and their wordings."""

from __future__ import annotations

from dataclasses import dataclass

from .pair_things import (
    ACTS,
    ANIMALS,
    CLAUSES,
    FIRMS,
    FOODS,
    LANGUAGES,
    NOUNS,
    OBJECTS,
    PHRASES,
    PLACES,
    ROLES,
    TASKS,
    THINGS,
    TONGUES,
    Draw,
    a_pair,
    amount,
    compared,
    counted,
    day,
    one,
    phrases,
    two,
)

__all__ = ["INTENTS", "Intent"]


@dataclass(frozen=True, slots=True)
class Intent:
    """Wordings of one question; `{0}`, `{1}` are the things it is about.

    `draw` picks the things; `family` names intents that take the same things, so that one may be taken
    for another; `swap` says that the two things may change places without changing the question.
    """

    name: str
    family: str
    draw: Draw
    wordings: tuple[str, ...]
    swap: bool = False


INTENTS = (
    Intent(
        "how",
        "act",
        one(ACTS),
        (
            "How do I {0}?",
            "How can I {0}?",
            "How to {0}?",
            "How do you {0}?",
            "What is the best way to {0}?",
            "What's a good way to {0}?",
            "What should I do to {0}?",
            "How does one {0}?",
            "What are some ways to {0}?",
            "What is the right way to {0}?",
            "I want to {0}. How?",
            "Explain how to {0}.",
        ),
    ),
    Intent(
        "how long",
        "act",
        one(ACTS),
        (
            "How long does it take to {0}?",
            "How much time does it take to {0}?",
            "How much time do I need to {0}?",
            "How long would it take me to {0}?",
        ),
    ),
    Intent(
        "why do it",
        "act",
        one(ACTS),
        ("Why should I {0}?", "What are good reasons to {0}?", "Why would anyone {0}?"),
    ),
    Intent(
        "cost of it",
        "act",
        one(ACTS),
        (
            "How much does it cost to {0}?",
            "What does it cost to {0}?",
            "What is the cost if I want to {0}?",
        ),
    ),
    Intent(
        "tools for it",
        "act",
        one(ACTS),
        ("What do I need to {0}?", "Which things do I need to {0}?", "What is needed to {0}?"),
    ),
    Intent(
        "what is",
        "thing",
        one(THINGS),
        (
            "What is {0}?",
            "What does {0} mean?",
            "Define {0}.",
            "Explain {0}.",
            "What is meant by {0}?",
            "What's {0}?",
            "What is the definition of {0}?",
            "What exactly is {0}?",
        ),
    ),
    Intent(
        "how works",
        "thing",
        one(THINGS),
        ("How does {0} work?", "Explain how {0} works.", "In what way does {0} work?"),
    ),
    Intent(
        "who found",
        "thing",
        one(THINGS),
        ("Who discovered {0}?", "By whom was {0} discovered?", "Who was the discoverer of {0}?"),
    ),
    Intent(
        "example",
        "thing",
        one(THINGS),
        (
            "What is an example of {0}?",
            "Give me an example of {0}.",
            "Can you give an example of {0}?",
        ),
    ),
    Intent(
        "why important",
        "thing",
        one(THINGS),
        ("Why is {0} important?", "What makes {0} important?", "What is the importance of {0}?"),
    ),
    Intent(
        "difference",
        "objects",
        lambda rng: tuple(rng.choice(phrases(OBJECTS)).split(" and ")),
        (
            "What is the difference between {0} and {1}?",
            "What's the difference between {0} and {1}?",
            "What are the differences between {0} and {1}?",
            "How is {0} different from {1}?",
            "How do {0} and {1} differ?",
        ),
        swap=True,
    ),
    Intent(
        "in common",
        "objects",
        lambda rng: tuple(rng.choice(phrases(OBJECTS)).split(" and ")),
        (
            "What do {0} and {1} have in common?",
            "What are the similarities between {0} and {1}?",
            "How are {0} and {1} similar?",
        ),
        swap=True,
    ),
    Intent(
        "compare",
        "compared",
        compared,
        (
            "Is {0} {2} than {1}?",
            "Would you say {0} is {2} than {1}?",
            "Is it true that {0} is {2} than {1}?",
        ),
    ),
    Intent(
        "why is",
        "clause",
        a_pair(CLAUSES, "|"),
        (
            "Why is {0} {1}?",
            "Why are {0} {1}?",
            "What makes {0} {1}?",
            "What is the reason that {0} is {1}?",
            "How come {0} is {1}?",
        ),
    ),
    Intent(
        "when is",
        "clause",
        a_pair(CLAUSES, "|"),
        ("When is {0} {1}?", "When does {0} become {1}?", "At what time is {0} {1}?"),
    ),
    Intent(
        "eat",
        "eat",
        two(ANIMALS, FOODS),
        (
            "Can {0} eat {1}?",
            "Is it safe for {0} to eat {1}?",
            "Are {0} able to eat {1}?",
            "Can I feed {1} to {0}?",
            "May {0} eat {1}?",
        ),
    ),
    Intent(
        "like",
        "eat",
        two(ANIMALS, FOODS),
        ("Why do {0} like {1}?", "Why do {0} enjoy {1}?", "What is the reason {0} like {1}?"),
    ),
    Intent(
        "healthy",
        "noun",
        one(NOUNS),
        (
            "Is {0} healthy?",
            "Is {0} good for you?",
            "Is {0} good for your health?",
            "Is {0} good for health?",
        ),
    ),
    Intent(
        "store",
        "noun",
        one(NOUNS),
        ("How should I store {0}?", "How do I store {0}?", "What is the best way to store {0}?"),
    ),
    Intent(
        "buy",
        "noun",
        one(NOUNS),
        (
            "Where can I buy {0}?",
            "Where do I get {0}?",
            "Where can I purchase {0}?",
            "Where to buy {0}?",
        ),
    ),
    Intent(
        "price",
        "noun",
        one(NOUNS),
        ("How much does {0} cost?", "What is the price of {0}?", "What does {0} cost?"),
    ),
    Intent(
        "founder",
        "firm",
        one(FIRMS),
        ("Who founded {0}?", "Who is the founder of {0}?", "Who was the founder of {0}?"),
    ),
    Intent(
        "where firm",
        "firm",
        one(FIRMS),
        (
            "Where is {0} based?",
            "Where are the headquarters of {0}?",
            "In which city is {0} based?",
        ),
    ),
    Intent(
        "fact",
        "fact",
        two(ROLES, PLACES),
        (
            "What is the {0} of {1}?",
            "What's the {0} of {1}?",
            "Tell me the {0} of {1}.",
            "Do you know the {0} of {1}?",
            "Name the {0} of {1}.",
        ),
    ),
    Intent(
        "code",
        "code",
        two(TASKS, LANGUAGES),
        (
            "How do I {0} in {1}?",
            "In {1}, how do I {0}?",
            "How can I {0} in {1}?",
            "How to {0} in {1}?",
            "How do you {0} using {1}?",
            "What is the best way to {0} in {1}?",
        ),
    ),
    Intent(
        "translate",
        "translate",
        two(PHRASES, TONGUES),
        (
            'Translate "{0}" into {1}.',
            'How do you say "{0}" in {1}?',
            'What is "{0}" in {1}?',
            'Please translate "{0}" to {1}.',
        ),
    ),
    Intent(
        "convert",
        "convert",
        amount,
        (
            "Convert {0} {1} to {2}.",
            "How many {2} are {0} {1}?",
            "How much is {0} {1} in {2}?",
            "What is {0} {1} in {2}?",
        ),
    ),
    Intent(
        "list benefits",
        "list",
        counted,
        ("List {0} benefits of {1}.", "Name {0} benefits of {1}.", "Give me {0} benefits of {1}."),
    ),
    Intent(
        "list risks",
        "list",
        counted,
        ("List {0} risks of {1}.", "Name {0} risks of {1}.", "Give me {0} risks of {1}."),
    ),
    Intent(
        "day",
        "day",
        day,
        (
            "What happened on {0} in {1}?",
            "What happened in {1} on {0}?",
            "Which event took place on {0} in {1}?",
        ),
    ),
)
