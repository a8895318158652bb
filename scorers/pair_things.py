"""The things that generated questions are about, and how they are drawn."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = [
    "ACTS",
    "ADJECTIVES",
    "ANIMALS",
    "CLAUSES",
    "CONDITIONS",
    "FIRMS",
    "FOODS",
    "LANGUAGES",
    "MONTHS",
    "NOUNS",
    "OBJECTS",
    "PHRASES",
    "PLACES",
    "ROLES",
    "TASKS",
    "THINGS",
    "TONGUES",
    "UNITS",
    "Draw",
    "Words",
    "a_pair",
    "amount",
    "compared",
    "counted",
    "day",
    "one",
    "phrases",
    "two",
]

Words = tuple[str, ...]
Draw = Callable[[random.Random], Words]


def phrases(text: str) -> list[str]:
    """Return what stands between bars and line ends."""
    return [part.strip() for part in text.replace("\n", "|").split("|") if part.strip()]


ACTS = """learn to swim|swimming|improve my handwriting|cook brown rice|train a puppy|remove a coffee stain
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
THINGS = """photosynthesis|inflation|a black hole|machine learning|osmosis|gravity|a mortgage|entropy|plate tectonics
quantum entanglement|compound interest|the water cycle|a semiconductor|natural selection|a hedge fund|dark matter
the stock market|a prime number|an ecosystem|a firewall|blockchain|a vaccine|acid rain|a catalyst|game theory
a tax credit|the ozone layer|a derivative|a recession|mitosis|a binary tree|a neural network|a tsunami|irony
an operating system|a metaphor|cognitive bias|a stem cell|the greenhouse effect|a balance sheet"""
NOUNS = """green tea|olive oil|dark chocolate|coconut water|oat milk|brown bread|apple cider vinegar|raw honey
red wine|peanut butter|white rice|ginger root|almond flour|sea salt|black coffee|cottage cheese|sweet potatoes"""
ANIMALS = "dogs|cats|rabbits|horses|parrots|hamsters|goats|turtles|ducks|guinea pigs"
FOODS = "grapes|carrots|cheese|raw eggs|strawberries|bread|mushrooms|pumpkin|bananas|spinach|peanuts|corn"
PLACES = """Norway|Vietnam|Portugal|Chile|Kenya|Iceland|Greece|Morocco|Canada|Thailand|Scotland|Peru|Austria|Nepal"""
FIRMS = "Nokia|Ikea|Sony|Lego|Ferrari|Adidas|Intel|Toyota|Nestle|Siemens|Volvo|Philips"
LANGUAGES = "Python|Java|Rust|Kotlin|Ruby|Haskell|Swift|Perl|Scala|Lua"
TONGUES = "French|Spanish|German|Italian|Japanese|Dutch|Swedish|Polish"
PHRASES = (
    "good morning|see you soon|thank you very much|where is the station|happy birthday|I am lost"
)
TASKS = """sort a list|reverse a string|read a text file|parse a date|remove duplicates from an array
merge two dictionaries|count the words in a file|generate a random number|split a string by commas
connect to a database|round a number|check for an empty list|measure elapsed time|download a web page"""
ADJECTIVES = "big|cold|heavy|fast|old|tall|deep|strong|cheap|hard"
OBJECTS = """Mars and Venus|copper and iron|a lion and a tiger|a whale and an elephant|a violin and a cello
the Nile and the Danube|a laptop and a tablet|oak and pine|a train and a bus|a comet and an asteroid
a virus and a bacterium|a crocodile and an alligator|butter and margarine|a fruit and a vegetable
a lawyer and a notary|a novel and a novella|weather and climate|speed and velocity|a mole and a vole"""
CLAUSES = """the sky|blue;the ocean|salty;gold|expensive;ice|slippery;snow|white;glass|transparent;rubber|elastic
flamingos|pink;deserts|dry;diamonds|hard;volcanoes|dangerous;leaves|green;bees|important;sleep|necessary
the moon|bright;clouds|grey;chili peppers|hot;sloths|slow;hospitals|crowded;old bridges|strong"""
ROLES = (
    "capital|population|official language|currency|national animal|highest mountain|longest river"
)
CONDITIONS = """for beginners|for children|without any tools|in winter|on a tight budget|at home|as a beginner
in a small apartment|for the elderly|with one hand|during pregnancy|for a living|in under an hour
without spending money|after a surgery|in the army|on a boat|for two people|at high altitude"""
UNITS = (("km", "miles"), ("kg", "pounds"), ("celsius", "fahrenheit"), ("liters", "gallons"))
MONTHS = ("January", "March", "April", "June", "July", "August", "October", "December")


def one(text: str) -> Draw:
    """Return what draws one of the phrases of a text."""
    words = phrases(text)
    return lambda rng: (rng.choice(words),)


def two(left: str, right: str) -> Draw:
    """Return what draws a phrase of each of two texts."""
    lefts, rights = phrases(left), phrases(right)
    return lambda rng: (rng.choice(lefts), rng.choice(rights))


def a_pair(text: str, mark: str) -> Draw:
    """Return what draws phrases that belong together, joined by a mark."""
    words = [tuple(part.split(mark)) for part in text.replace("\n", ";").split(";")]
    return lambda rng: rng.choice(words)


def compared(rng: random.Random) -> Words:
    """Draw two things and an adjective by which they are compared."""
    left, right = rng.choice(phrases(OBJECTS)).split(" and ")
    adjective = rng.choice(phrases(ADJECTIVES))
    double = adjective[-1] in "gt" and adjective[-2] in "aeiou"
    return left, right, adjective + (adjective[-1] if double else "") + "er"


def amount(rng: random.Random) -> Words:
    """Draw a number and two units."""
    units = rng.choice(UNITS)
    left, right = units if rng.random() < 0.5 else units[::-1]
    return str(rng.choice((2, 3, 5, 8, 12, 25, 40, 70, 150))), left, right


def counted(rng: random.Random) -> Words:
    """Draw a number and a thing."""
    return str(rng.choice((3, 4, 5, 7, 10))), rng.choice(phrases(NOUNS))


def day(rng: random.Random) -> Words:
    """Draw a date and a place."""
    return (
        f"{rng.choice(MONTHS)} {rng.randint(2, 28)}, {rng.randint(1900, 2020)}",
        rng.choice(phrases(PLACES)),
    )
