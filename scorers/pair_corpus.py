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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", "|").split("|") if part.strip()]


_ACTS = """learn to swim|swimming|improve my handwriting|cook brown rice|train a puppy|remove a coffee stain
fix a leaking tap|write a cover letter|start a vegetable garden|tune a guitar|clean a laptop screen
prepare for a job interview|grow tomatoes indoors|lower my blood pressure|sharpen a kitchen knife
sleep better at night|stop biting my nails|paint a wooden fence|build a bird house|bake sourdough bread
invest in index funds|meditate every morning|overcome stage fright|change a bicycle tire|fold a fitted sheet
apply for a student visa|reset a wireless router|learn the violin|memorize long poems|repair a cracked phone screen
raise chickens in the city|become a radio host|negotiate a higher salary|make friends in a new town
brew green tea|plan a surprise party|organize my photo collection|back up a hard drive|patent an invention
record a podcast at home|lose belly fat|study for a chemistry exam|choose a running shoe|quit smoking
write a short story|learn sign language|get rid of fruit flies|keep houseplants alive|publish a cookbook
earn money as a student|solve a sliding puzzle|draw realistic hands|speak in public without fear"""
_THINGS = """photosynthesis|inflation|a black hole|machine learning|osmosis|gravity|a mortgage|entropy|plate tectonics
quantum entanglement|compound interest|the water cycle|a semiconductor|natural selection|a hedge fund|dark matter
the stock market|a prime number|an ecosystem|a firewall|blockchain|a vaccine|acid rain|a catalyst|game theory
a tax credit|the ozone layer|a derivative|a recession|mitosis|a binary tree|a neural network|a tsunami|irony
an operating system|a metaphor|cognitive bias|a stem cell|the greenhouse effect|a balance sheet"""
_NOUNS = """green tea|olive oil|dark chocolate|coconut water|oat milk|brown bread|apple cider vinegar|raw honey
red wine|peanut butter|white rice|ginger root|almond flour|sea salt|black coffee|cottage cheese|sweet potatoes"""
_ANIMALS = "dogs|cats|rabbits|horses|parrots|hamsters|goats|turtles|ducks|guinea pigs"
_FOODS = "grapes|carrots|cheese|raw eggs|strawberries|bread|mushrooms|pumpkin|bananas|spinach|peanuts|corn"
_PLACES = """Norway|Vietnam|Portugal|Chile|Kenya|Iceland|Greece|Morocco|Canada|Thailand|Scotland|Peru|Austria|Nepal"""
_FIRMS = "Nokia|Ikea|Sony|Lego|Ferrari|Adidas|Intel|Toyota|Nestle|Siemens|Volvo|Philips"
_LANGUAGES = "Python|Java|Rust|Kotlin|Ruby|Haskell|Swift|Perl|Scala|Lua"
_TONGUES = "French|Spanish|German|Italian|Japanese|Dutch|Swedish|Polish"
_PHRASES = (
    "good morning|see you soon|thank you very much|where is the station|happy birthday|I am lost"
)
_TASKS = """sort a list|reverse a string|read a text file|parse a date|remove duplicates from an array
merge two dictionaries|count the words in a file|generate a random number|split a string by commas
connect to a database|round a number|check for an empty list|measure elapsed time|download a web page"""
_ADJECTIVES = "big|cold|heavy|fast|old|tall|deep|strong|cheap|hard"
_OBJECTS = """Mars and Venus|copper and iron|a lion and a tiger|a whale and an elephant|a violin and a cello
the Nile and the Danube|a laptop and a tablet|oak and pine|a train and a bus|a comet and an asteroid
a virus and a bacterium|a crocodile and an alligator|butter and margarine|a fruit and a vegetable
a lawyer and a notary|a novel and a novella|weather and climate|speed and velocity|a mole and a vole"""
_CLAUSES = """the sky|blue;the ocean|salty;gold|expensive;ice|slippery;snow|white;glass|transparent;rubber|elastic
flamingos|pink;deserts|dry;diamonds|hard;volcanoes|dangerous;leaves|green;bees|important;sleep|necessary
the moon|bright;clouds|grey;chili peppers|hot;sloths|slow;hospitals|crowded;old bridges|strong"""
_ROLES = (
    "capital|population|official language|currency|national animal|highest mountain|longest river"
)
_CONDITIONS = """for beginners|for children|without any tools|in winter|on a tight budget|at home|as a beginner
in a small apartment|for the elderly|with one hand|during pregnancy|for a living|in under an hour
without spending money|after a surgery|in the army|on a boat|for two people|at high altitude"""
_UNITS = (("km", "miles"), ("kg", "pounds"), ("celsius", "fahrenheit"), ("liters", "gallons"))
_MONTHS = ("January", "March", "April", "June", "July", "August", "October", "December")


_Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Intent:
    """Wordings of one question; `{0}`, `{1}` are the things it is about.

    `draw` picks the things; `family` names intents that take the same things, so that one may be taken
    for another; `swap` says that the two things may change places without changing the question.
    """

    name: str
    family: str
    draw: Callable[[random.Random], _Words]
    wordings: tuple[str, ...]
    swap: bool = False


def _one(text: str) -> Callable[[random.Random], _Words]:
    words = _split(text)
    return lambda rng: (rng.choice(words),)


def _two(left: str, right: str) -> Callable[[random.Random], _Words]:
    lefts, rights = _split(left), _split(right)
    return lambda rng: (rng.choice(lefts), rng.choice(rights))


def _pair(text: str, mark: str) -> Callable[[random.Random], _Words]:
    words = [tuple(part.split(mark)) for part in text.replace("\n", ";").split(";")]
    return lambda rng: rng.choice(words)


def _compared(rng: random.Random) -> _Words:
    left, right = rng.choice(_split(_OBJECTS)).split(" and ")
    adjective = rng.choice(_split(_ADJECTIVES))
    double = adjective[-1] in "gt" and adjective[-2] in "aeiou"
    return left, right, adjective + (adjective[-1] if double else "") + "er"


def _amount(rng: random.Random) -> _Words:
    units = rng.choice(_UNITS)
    left, right = units if rng.random() < 0.5 else units[::-1]
    return str(rng.choice((2, 3, 5, 8, 12, 25, 40, 70, 150))), left, right


def _counted(rng: random.Random) -> _Words:
    return str(rng.choice((3, 4, 5, 7, 10))), rng.choice(_split(_NOUNS))


def _day(rng: random.Random) -> _Words:
    return (
        f"{rng.choice(_MONTHS)} {rng.randint(2, 28)}, {rng.randint(1900, 2020)}",
        rng.choice(_split(_PLACES)),
    )


_INTENTS = (
    _Intent(
        "how",
        "act",
        _one(_ACTS),
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
    _Intent(
        "how long",
        "act",
        _one(_ACTS),
        (
            "How long does it take to {0}?",
            "How much time does it take to {0}?",
            "How much time do I need to {0}?",
            "How long would it take me to {0}?",
        ),
    ),
    _Intent(
        "why do it",
        "act",
        _one(_ACTS),
        ("Why should I {0}?", "What are good reasons to {0}?", "Why would anyone {0}?"),
    ),
    _Intent(
        "cost of it",
        "act",
        _one(_ACTS),
        (
            "How much does it cost to {0}?",
            "What does it cost to {0}?",
            "What is the cost if I want to {0}?",
        ),
    ),
    _Intent(
        "tools for it",
        "act",
        _one(_ACTS),
        ("What do I need to {0}?", "Which things do I need to {0}?", "What is needed to {0}?"),
    ),
    _Intent(
        "what is",
        "thing",
        _one(_THINGS),
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
    _Intent(
        "how works",
        "thing",
        _one(_THINGS),
        ("How does {0} work?", "Explain how {0} works.", "In what way does {0} work?"),
    ),
    _Intent(
        "who found",
        "thing",
        _one(_THINGS),
        ("Who discovered {0}?", "By whom was {0} discovered?", "Who was the discoverer of {0}?"),
    ),
    _Intent(
        "example",
        "thing",
        _one(_THINGS),
        (
            "What is an example of {0}?",
            "Give me an example of {0}.",
            "Can you give an example of {0}?",
        ),
    ),
    _Intent(
        "why important",
        "thing",
        _one(_THINGS),
        ("Why is {0} important?", "What makes {0} important?", "What is the importance of {0}?"),
    ),
    _Intent(
        "difference",
        "objects",
        lambda rng: tuple(rng.choice(_split(_OBJECTS)).split(" and ")),
        (
            "What is the difference between {0} and {1}?",
            "What's the difference between {0} and {1}?",
            "What are the differences between {0} and {1}?",
            "How is {0} different from {1}?",
            "How do {0} and {1} differ?",
        ),
        swap=True,
    ),
    _Intent(
        "in common",
        "objects",
        lambda rng: tuple(rng.choice(_split(_OBJECTS)).split(" and ")),
        (
            "What do {0} and {1} have in common?",
            "What are the similarities between {0} and {1}?",
            "How are {0} and {1} similar?",
        ),
        swap=True,
    ),
    _Intent(
        "compare",
        "compared",
        _compared,
        (
            "Is {0} {2} than {1}?",
            "Would you say {0} is {2} than {1}?",
            "Is it true that {0} is {2} than {1}?",
        ),
    ),
    _Intent(
        "why is",
        "clause",
        _pair(_CLAUSES, "|"),
        (
            "Why is {0} {1}?",
            "Why are {0} {1}?",
            "What makes {0} {1}?",
            "What is the reason that {0} is {1}?",
            "How come {0} is {1}?",
        ),
    ),
    _Intent(
        "when is",
        "clause",
        _pair(_CLAUSES, "|"),
        ("When is {0} {1}?", "When does {0} become {1}?", "At what time is {0} {1}?"),
    ),
    _Intent(
        "eat",
        "eat",
        _two(_ANIMALS, _FOODS),
        (
            "Can {0} eat {1}?",
            "Is it safe for {0} to eat {1}?",
            "Are {0} able to eat {1}?",
            "Can I feed {1} to {0}?",
            "May {0} eat {1}?",
        ),
    ),
    _Intent(
        "like",
        "eat",
        _two(_ANIMALS, _FOODS),
        ("Why do {0} like {1}?", "Why do {0} enjoy {1}?", "What is the reason {0} like {1}?"),
    ),
    _Intent(
        "healthy",
        "noun",
        _one(_NOUNS),
        (
            "Is {0} healthy?",
            "Is {0} good for you?",
            "Is {0} good for your health?",
            "Is {0} good for health?",
        ),
    ),
    _Intent(
        "store",
        "noun",
        _one(_NOUNS),
        ("How should I store {0}?", "How do I store {0}?", "What is the best way to store {0}?"),
    ),
    _Intent(
        "buy",
        "noun",
        _one(_NOUNS),
        (
            "Where can I buy {0}?",
            "Where do I get {0}?",
            "Where can I purchase {0}?",
            "Where to buy {0}?",
        ),
    ),
    _Intent(
        "price",
        "noun",
        _one(_NOUNS),
        ("How much does {0} cost?", "What is the price of {0}?", "What does {0} cost?"),
    ),
    _Intent(
        "founder",
        "firm",
        _one(_FIRMS),
        ("Who founded {0}?", "Who is the founder of {0}?", "Who was the founder of {0}?"),
    ),
    _Intent(
        "where firm",
        "firm",
        _one(_FIRMS),
        (
            "Where is {0} based?",
            "Where are the headquarters of {0}?",
            "In which city is {0} based?",
        ),
    ),
    _Intent(
        "fact",
        "fact",
        _two(_ROLES, _PLACES),
        (
            "What is the {0} of {1}?",
            "What's the {0} of {1}?",
            "Tell me the {0} of {1}.",
            "Do you know the {0} of {1}?",
            "Name the {0} of {1}.",
        ),
    ),
    _Intent(
        "code",
        "code",
        _two(_TASKS, _LANGUAGES),
        (
            "How do I {0} in {1}?",
            "In {1}, how do I {0}?",
            "How can I {0} in {1}?",
            "How to {0} in {1}?",
            "How do you {0} using {1}?",
            "What is the best way to {0} in {1}?",
        ),
    ),
    _Intent(
        "translate",
        "translate",
        _two(_PHRASES, _TONGUES),
        (
            'Translate "{0}" into {1}.',
            'How do you say "{0}" in {1}?',
            'What is "{0}" in {1}?',
            'Please translate "{0}" to {1}.',
        ),
    ),
    _Intent(
        "convert",
        "convert",
        _amount,
        (
            "Convert {0} {1} to {2}.",
            "How many {2} are {0} {1}?",
            "How much is {0} {1} in {2}?",
            "What is {0} {1} in {2}?",
        ),
    ),
    _Intent(
        "list benefits",
        "list",
        _counted,
        ("List {0} benefits of {1}.", "Name {0} benefits of {1}.", "Give me {0} benefits of {1}."),
    ),
    _Intent(
        "list risks",
        "list",
        _counted,
        ("List {0} risks of {1}.", "Name {0} risks of {1}.", "Give me {0} risks of {1}."),
    ),
    _Intent(
        "day",
        "day",
        _day,
        (
            "What happened on {0} in {1}?",
            "What happened in {1} on {0}?",
            "Which event took place on {0} in {1}?",
        ),
    ),
)
_CONTEXTS = (
    "I live in a small town by the sea and work as a nurse. ",
    "My sister asked me this yesterday and I had no answer. ",
    "I am writing a school essay about everyday questions, with sources. ",
    "We are a team of four engineers who build bridges, and argue a lot. ",
    "Suppose you are a patient teacher who explains things to adults. ",
    "I have been thinking about this for a long time. ",
)
_MODIFIERS = _split(
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
        intent = rng.choice(_INTENTS)
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


def _worded(rng: random.Random, intent: _Intent, words: _Words, but: str = "") -> tuple[str, str]:
    """Return a question and the wording it was made from, another one than `but`."""
    wordings = [w for w in intent.wordings if w != but]
    wording = rng.choice(wordings)
    if intent.swap and rng.random() < 0.4:
        words = words[::-1]
    return wording.format(*words), wording


def _reworded(rng: random.Random, intent: _Intent) -> _Made:
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    return first, _worded(rng, intent, words, used)[0]


def _polite(rng: random.Random, intent: _Intent) -> _Made:
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    second = first if rng.random() < 0.4 else _worded(rng, intent, words, used)[0]
    if rng.random() < 0.7:
        second = rng.choice(_OPENINGS) + second[0].lower() + second[1:]
    else:
        second += rng.choice(_CLOSINGS)
    return (first, second) if rng.random() < 0.5 else (second, first)


def _typed(rng: random.Random, intent: _Intent) -> _Made:
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


def _slipped(rng: random.Random, intent: _Intent) -> _Made:
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


def _conditioned(rng: random.Random, intent: _Intent) -> _Made:
    """The same condition on both."""
    words = intent.draw(rng)
    condition = rng.choice(_split(_CONDITIONS))
    first, used = _worded(rng, intent, words)
    second = _worded(rng, intent, words, used)[0]
    return _with(first, condition), _with(second, condition)


def _other_thing(rng: random.Random, intent: _Intent) -> _Made:
    words, others = intent.draw(rng), intent.draw(rng)
    i = rng.randrange(len(words))
    changed = (*words[:i], others[i], *words[i + 1 :])
    if set(changed) == set(words) or len(set(changed)) < len(set(words)):
        return None
    first, used = _worded(rng, intent, words)
    second = used.format(*changed) if rng.random() < 0.6 else _worded(rng, intent, changed)[0]
    return first, second


def _other_intent(rng: random.Random, intent: _Intent) -> _Made:
    family = [i for i in _INTENTS if i.family == intent.family and i is not intent]
    if not family:
        return None
    words = intent.draw(rng)
    return _worded(rng, intent, words)[0], _worded(rng, rng.choice(family), words)[0]


def _other_frame(rng: random.Random, intent: _Intent) -> _Made:
    """The same words behind another opening."""
    first, _ = _worded(rng, intent, intent.draw(rng))
    found = [(old, new) for old, new in _OTHER_OPENINGS if first.startswith(old)]
    if not found:
        return None
    old, new = rng.choice(found)
    second = rng.choice(new.split("|")) + " " + first[len(old) :]
    return (first, second) if rng.random() < 0.5 else (second, first)


def _other_person(rng: random.Random, intent: _Intent) -> _Made:
    first, _ = _worded(rng, intent, intent.draw(rng))
    if '"' in first:
        return None  # "into French to you" says nothing
    if " my " in first and rng.random() < 0.7:
        second = first.replace(" my ", rng.choice((" your ", " his ", " their ")), 1)
    else:
        second = _with(first, rng.choice(("to you", "to me", "to them")))
    return (first, second) if rng.random() < 0.5 else (second, first)


def _one_condition(rng: random.Random, intent: _Intent) -> _Made:
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    second = first if rng.random() < 0.6 else _worded(rng, intent, words, used)[0]
    second = _with(second, rng.choice(_split(_CONDITIONS)))
    return (first, second) if rng.random() < 0.5 else (second, first)


def _qualified(rng: random.Random, intent: _Intent) -> _Made:
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


def _other_condition(rng: random.Random, intent: _Intent) -> _Made:
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    second = first if rng.random() < 0.6 else _worded(rng, intent, words, used)[0]
    left, right = rng.sample(_split(_CONDITIONS), 2)
    return _with(first, left), _with(second, right)


def _denied(rng: random.Random, intent: _Intent) -> _Made:
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


def _turned(rng: random.Random, intent: _Intent) -> _Made:
    """The two things change places where that changes the question."""
    words = intent.draw(rng)
    if intent.swap or intent.name not in ("compare", "convert"):
        return None
    turned = (words[1], words[0], *words[2:])
    if intent.name == "convert":
        turned = (words[0], words[2], words[1])
    first, used = _worded(rng, intent, words)
    return first, used.format(*turned)


def _other_number(rng: random.Random, intent: _Intent) -> _Made:
    if intent.family not in _NUMBER_KINDS:
        return None
    words, others = intent.draw(rng), intent.draw(rng)
    first, used = _worded(rng, intent, words)
    if words[0] == others[0]:
        return None
    return first, used.format(others[0], *words[1:])


def _unrelated(rng: random.Random, intent: _Intent) -> _Made:
    other = rng.choice(_INTENTS)
    first, second = intent.draw(rng), other.draw(rng)
    if set(first) & set(second):
        return None
    return _worded(rng, intent, first)[0], _worded(rng, other, second)[0]


def _two_asked(rng: random.Random, intent: _Intent) -> _Made:
    """One asks a second thing besides."""
    words = intent.draw(rng)
    first, used = _worded(rng, intent, words)
    other = rng.choice([i for i in _INTENTS if i is not intent])
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
