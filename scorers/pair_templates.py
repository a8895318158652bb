"""The questions that pairs are generated from: intents, their wordings, and the things they are about."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["CONDITIONS", "INTENTS", "Intent", "Words", "phrases"]


def phrases(text: str) -> list[str]:
    """Return what stands between bars and line ends."""
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
CONDITIONS = """for beginners|for children|without any tools|in winter|on a tight budget|at home|as a beginner
in a small apartment|for the elderly|with one hand|during pregnancy|for a living|in under an hour
without spending money|after a surgery|in the army|on a boat|for two people|at high altitude"""
_UNITS = (("km", "miles"), ("kg", "pounds"), ("celsius", "fahrenheit"), ("liters", "gallons"))
_MONTHS = ("January", "March", "April", "June", "July", "August", "October", "December")


Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Intent:
    """Wordings of one question; `{0}`, `{1}` are the things it is about.

    `draw` picks the things; `family` names intents that take the same things, so that one may be taken
    for another; `swap` says that the two things may change places without changing the question.
    """

    name: str
    family: str
    draw: Callable[[random.Random], Words]
    wordings: tuple[str, ...]
    swap: bool = False


def _one(text: str) -> Callable[[random.Random], Words]:
    words = phrases(text)
    return lambda rng: (rng.choice(words),)


def _two(left: str, right: str) -> Callable[[random.Random], Words]:
    lefts, rights = phrases(left), phrases(right)
    return lambda rng: (rng.choice(lefts), rng.choice(rights))


def _pair(text: str, mark: str) -> Callable[[random.Random], Words]:
    words = [tuple(part.split(mark)) for part in text.replace("\n", ";").split(";")]
    return lambda rng: rng.choice(words)


def _compared(rng: random.Random) -> Words:
    left, right = rng.choice(phrases(_OBJECTS)).split(" and ")
    adjective = rng.choice(phrases(_ADJECTIVES))
    double = adjective[-1] in "gt" and adjective[-2] in "aeiou"
    return left, right, adjective + (adjective[-1] if double else "") + "er"


def _amount(rng: random.Random) -> Words:
    units = rng.choice(_UNITS)
    left, right = units if rng.random() < 0.5 else units[::-1]
    return str(rng.choice((2, 3, 5, 8, 12, 25, 40, 70, 150))), left, right


def _counted(rng: random.Random) -> Words:
    return str(rng.choice((3, 4, 5, 7, 10))), rng.choice(phrases(_NOUNS))


def _day(rng: random.Random) -> Words:
    return (
        f"{rng.choice(_MONTHS)} {rng.randint(2, 28)}, {rng.randint(1900, 2020)}",
        rng.choice(phrases(_PLACES)),
    )


INTENTS = (
    Intent(
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
    Intent(
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
    Intent(
        "why do it",
        "act",
        _one(_ACTS),
        ("Why should I {0}?", "What are good reasons to {0}?", "Why would anyone {0}?"),
    ),
    Intent(
        "cost of it",
        "act",
        _one(_ACTS),
        (
            "How much does it cost to {0}?",
            "What does it cost to {0}?",
            "What is the cost if I want to {0}?",
        ),
    ),
    Intent(
        "tools for it",
        "act",
        _one(_ACTS),
        ("What do I need to {0}?", "Which things do I need to {0}?", "What is needed to {0}?"),
    ),
    Intent(
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
    Intent(
        "how works",
        "thing",
        _one(_THINGS),
        ("How does {0} work?", "Explain how {0} works.", "In what way does {0} work?"),
    ),
    Intent(
        "who found",
        "thing",
        _one(_THINGS),
        ("Who discovered {0}?", "By whom was {0} discovered?", "Who was the discoverer of {0}?"),
    ),
    Intent(
        "example",
        "thing",
        _one(_THINGS),
        (
            "What is an example of {0}?",
            "Give me an example of {0}.",
            "Can you give an example of {0}?",
        ),
    ),
    Intent(
        "why important",
        "thing",
        _one(_THINGS),
        ("Why is {0} important?", "What makes {0} important?", "What is the importance of {0}?"),
    ),
    Intent(
        "difference",
        "objects",
        lambda rng: tuple(rng.choice(phrases(_OBJECTS)).split(" and ")),
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
        lambda rng: tuple(rng.choice(phrases(_OBJECTS)).split(" and ")),
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
        _compared,
        (
            "Is {0} {2} than {1}?",
            "Would you say {0} is {2} than {1}?",
            "Is it true that {0} is {2} than {1}?",
        ),
    ),
    Intent(
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
    Intent(
        "when is",
        "clause",
        _pair(_CLAUSES, "|"),
        ("When is {0} {1}?", "When does {0} become {1}?", "At what time is {0} {1}?"),
    ),
    Intent(
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
    Intent(
        "like",
        "eat",
        _two(_ANIMALS, _FOODS),
        ("Why do {0} like {1}?", "Why do {0} enjoy {1}?", "What is the reason {0} like {1}?"),
    ),
    Intent(
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
    Intent(
        "store",
        "noun",
        _one(_NOUNS),
        ("How should I store {0}?", "How do I store {0}?", "What is the best way to store {0}?"),
    ),
    Intent(
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
    Intent(
        "price",
        "noun",
        _one(_NOUNS),
        ("How much does {0} cost?", "What is the price of {0}?", "What does {0} cost?"),
    ),
    Intent(
        "founder",
        "firm",
        _one(_FIRMS),
        ("Who founded {0}?", "Who is the founder of {0}?", "Who was the founder of {0}?"),
    ),
    Intent(
        "where firm",
        "firm",
        _one(_FIRMS),
        (
            "Where is {0} based?",
            "Where are the headquarters of {0}?",
            "In which city is {0} based?",
        ),
    ),
    Intent(
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
    Intent(
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
    Intent(
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
    Intent(
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
    Intent(
        "list benefits",
        "list",
        _counted,
        ("List {0} benefits of {1}.", "Name {0} benefits of {1}.", "Give me {0} benefits of {1}."),
    ),
    Intent(
        "list risks",
        "list",
        _counted,
        ("List {0} risks of {1}.", "Name {0} risks of {1}.", "Give me {0} risks of {1}."),
    ),
    Intent(
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
