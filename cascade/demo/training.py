"""Make the training questions of `cascade demo --train`: the demo's ten kinds, from templates.

The answers are known because the templates compute them, so the labels of the training log need no
judge.  No prompt of `questions` is among them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from .questions import QUESTIONS
from .tasks import (
    Question,
    about,
    asks,
    code_prints,
    how_many,
    intent,
    json_object,
    language,
    numbered,
    sentiment,
)

__all__ = ["training_questions"]


def training_questions(*, per_kind: int = 15, seed: int = 7) -> tuple[Question, ...]:
    """Return `per_kind` different questions of each kind, kinds interleaved.

    Args:
        per_kind: Questions of each kind, from 1 to 20.
        seed: The same seed gives the same questions.

    Raises:
        ValueError: If `per_kind` is out of range.
    """
    if not 1 <= per_kind <= 20:
        raise ValueError(f"per_kind: {per_kind} is not in [1, 20]")
    # Not for secrets: the generator only has to repeat itself for a seed.
    kinds = [
        numbered(f"train-{kind}", _distinct(make, per_kind, random.Random(f"{seed}/{kind}")))  # noqa: S311
        for kind, make in _MAKERS.items()
    ]
    return tuple(question for row in zip(*kinds, strict=True) for question in row)


def _distinct(
    make: Callable[[random.Random], Question], count: int, rng: random.Random
) -> list[Question]:
    taken = {question.prompt for question in QUESTIONS}
    found: list[Question] = []
    while len(found) < count:
        question = make(rng)
        if question.prompt not in taken:
            taken.add(question.prompt)
            found.append(question)
    return found


_NAMES = ("Nora", "Ivan", "Chloe", "Samir", "Greta", "Paulo", "Yuki", "Amara", "Felix", "Dalia")
_CITIES = ("Lisbon", "Krakow", "Bristol", "Quito", "Osaka", "Tampere", "Genoa", "Leeds", "Perth")
_THINGS = ("kettle", "backpack", "lamp", "headset", "tent", "keyboard", "blender", "raincoat")
_PRAISE = (
    "The {} arrived early and works perfectly.",
    "I would buy this {} again without thinking.",
    "My old {} was good, but this one is far better.",
    "Nothing about this {} disappoints.",
    "Everyone in the family fights over the {}; need I say more?",
)
_BLAME = (
    "The {} stopped working after three days.",
    "I wish I had read the warnings before buying this {}.",
    "A {} this expensive should at least do its job.",
    "The only good thing about the {} is the box.",
    "I have sent the {} back twice now.",
)
_MESSAGES = {
    "billing": (
        "My card was charged for a plan that I cancelled.",
        "Can I pay by bank transfer instead of by card?",
        "The discount is missing from my receipt.",
        "Please send me a receipt for my last payment.",
        "You took 40 dollars too much from my account.",
    ),
    "delivery": (
        "My package has not left the depot since Monday.",
        "Can you send the parcel to my office instead?",
        "The box arrived with half of the items.",
        "When will the sofa that I ordered arrive?",
        "The driver says nobody was at home, but I was.",
    ),
    "login": (
        "It says my password is wrong, although I just changed it.",
        "I am locked out after too many attempts.",
        "My sign-in code is sent to an old phone number.",
        "I cannot get into my account from the new laptop.",
        "Which e-mail address did I sign up with? I cannot sign in.",
    ),
    "bug": (
        "The export button does nothing when I click it.",
        "The page freezes as soon as I scroll down.",
        "The chart shows last year's numbers twice.",
        "Since the update, every second photo is upside down.",
        "Search returns an error for any word with an accent.",
    ),
}
_SENTENCES = {
    "Spanish": ("Mi hermana trabaja en un hospital.", "Hoy hace mucho calor en la ciudad.",
                "No encuentro las llaves del coche.", "Queremos comprar pan y queso."),
    "French": ("Mon frère habite près de la gare.", "Il fait très froid ce matin.",
               "Nous avons oublié le parapluie.", "Le chat dort sur la chaise."),
    "German": ("Mein Bruder wohnt in der Nähe.", "Heute regnet es den ganzen Tag.",
               "Ich habe das Fenster schon geschlossen.", "Der Hund schläft unter dem Tisch."),
    "Italian": ("Mia sorella lavora in una banca.", "Oggi fa molto freddo in montagna.",
                "Abbiamo dimenticato l'ombrello.", "Il gatto dorme sulla sedia."),
    "Dutch": ("Mijn zus werkt in het ziekenhuis.", "Het regent vandaag de hele dag.",
              "Wij hebben gisteren brood gekocht.", "De hond slaapt onder de tafel."),
    "Polish": ("Moja siostra pracuje w banku.", "Dzisiaj jest bardzo zimno.",
               "Nie mogę znaleźć kluczy.", "Kot śpi na krześle."),
}  # fmt: skip
_FACTS = (
    ("What is the capital of Canada?", "Ottawa"),
    ("What is the capital of Portugal?", "Lisbon"),
    ("What is the capital of Kenya?", "Nairobi"),
    ("What is the capital of New Zealand?", "Wellington"),
    ("What is the capital of Turkey?", "Ankara"),
    ("What is the capital of Peru?", "Lima"),
    ("What is the chemical symbol of iron?", "Fe"),
    ("What is the chemical symbol of sodium?", "Na"),
    ("What is the chemical symbol of silver?", "Ag"),
    ("Which planet is the largest of the solar system?", "Jupiter"),
    ("Which planet is known for its rings?", "Saturn"),
    ("Who painted the Mona Lisa?", "Leonardo"),
    ("Who wrote the novel Pride and Prejudice?", "Austen"),
    ("Who wrote the novel Don Quixote?", "Cervantes"),
    ("In which country is the city of Nagoya?", "Japan"),
    ("In which country is the city of Gdansk?", "Poland"),
    ("In which country is the city of Cusco?", "Peru"),
    ("Which gas do plants take from the air to grow?", "carbon dioxide"),
    ("What is the largest ocean?", "Pacific"),
    ("Which metal is liquid at room temperature?", "mercury"),
    ("On which continent is the Sahara?", "Africa"),
    ("Which language is mainly spoken in Brazil?", "Portuguese"),
)
_PLURALS = (
    ("knife", "knives"), ("child", "children"), ("city", "cities"), ("foot", "feet"),
    ("bus", "buses"), ("wolf", "wolves"), ("mouse", "mice"), ("potato", "potatoes"),
)  # fmt: skip
_PASTS = (
    ("buy", "bought"), ("run", "ran"), ("sing", "sang"), ("write", "wrote"),
    ("bring", "brought"), ("freeze", "froze"), ("swim", "swam"), ("keep", "kept"),
)  # fmt: skip
_MONTHS = ("January", "February", "April", "June", "August", "October", "December")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FRUIT = ("grape", "lemon", "mango", "peach", "cherry", "melon", "banana", "orange")
_TOOLS = ("spanner", "ladder", "bucket", "saw", "curtain", "tractor", "candle")


def _make_sentiment(rng: random.Random) -> Question:
    good = rng.random() < 0.5
    text = rng.choice(_PRAISE if good else _BLAME).format(rng.choice(_THINGS))
    return sentiment(text, "positive" if good else "negative")


def _make_intent(rng: random.Random) -> Question:
    label = rng.choice(tuple(_MESSAGES))
    return intent(rng.choice(_MESSAGES[label]), label)


def _make_language(rng: random.Random) -> Question:
    name = rng.choice(tuple(_SENTENCES))
    return language(rng.choice(_SENTENCES[name]), name)


def _make_extract(rng: random.Random) -> Question:
    seller, buyer = rng.sample(_NAMES, 2)
    first, second = rng.sample(_CITIES, 2)
    number, price = rng.randint(10000, 99999), rng.randint(11, 95)
    shape = rng.randrange(4)
    if shape == 0:
        text = f"Order {number}: one {rng.choice(_THINGS)} for {price} euros, sent to {first}."
        return about(text, "What is the order number?", str(number), check="number")
    if shape == 1:
        text = f"{seller} sold a {rng.choice(_THINGS)} to {buyer} for {price} euros in {first}."
        return about(text, "Who is the buyer? Give the name.", buyer)
    if shape == 2:
        text = f"{seller} moved from {first} to {second} and works for {buyer} there."
        return about(text, f"In which city does {seller} live now?", second)
    mail = f"{seller.lower()}{number % 100}@{first.lower()}.example"
    text = f"Ask {seller} at {mail}, or ring extension {price}; {buyer} is away."
    return about(text, "What is the e-mail address?", mail)


def _make_json(rng: random.Random) -> Question:
    name, city, thing = rng.choice(_NAMES), rng.choice(_CITIES), rng.choice(_THINGS)
    number, small = rng.randint(18, 90), rng.randint(2, 9)
    shape = rng.randrange(3)
    if shape == 0:
        text = f"{name}, who is {number}, has lived in {city} for {small} years."
        return json_object(text, name=name, age=number, city=city, years=small)
    if shape == 1:
        sold_out = rng.random() < 0.5
        state = "is sold out" if sold_out else "can be had at once"
        text = f"The {thing} costs {number} dollars and {state}."
        return json_object(text, item=thing, price=number, in_stock=not sold_out)
    text = f"{name} wants {small} of the {thing} sent to {city}."
    return json_object(text, customer=name, item=thing, quantity=small, city=city)


def _make_arithmetic(rng: random.Random) -> Question:
    a, b, c = rng.randint(12, 95), rng.randint(12, 95), rng.randint(3, 9)
    shape = rng.randrange(5)
    if shape == 0:
        return how_many(f"What is {a} + {b}?", a + b)
    if shape == 1:
        return how_many(f"What is {a + b} - {a}?", b)
    if shape == 2:
        return how_many(f"What is {c} times {a}?", c * a)
    if shape == 3:
        text = f"Pens cost {c} each and I buy {a % 10 + 2}. What do I pay?"
        return how_many(text, c * (a % 10 + 2))
    text = f"A bus has {a} passengers; {c} get off and {b} get on. How many are on it now?"
    return how_many(text, a - c + b)


def _make_facts(rng: random.Random) -> Question:
    return asks(*rng.choice(_FACTS))


def _make_reasoning(rng: random.Random) -> Question:
    a, b, c = rng.sample(_NAMES, 3)
    shape = rng.randrange(4)
    if shape == 0:
        word, answer = rng.choice((("older", a), ("oldest", a), ("youngest", c)))
        if word == "older":
            return about(
                f"{a} is older than {b}.", "Who is older? Give the name.", a, check="exact"
            )
        text = f"{a} is older than {b}. {b} is older than {c}."
        return about(text, f"Who is the {word}? Give the name.", answer, check="exact")
    if shape == 1:
        start, step = rng.randint(2, 9), rng.randint(2, 9)
        terms = [start + step * n for n in range(5)]
        shown = ", ".join(str(term) for term in terms[:4])
        return how_many(f"What comes next: {shown}? Give the number.", terms[4])
    if shape == 2:
        day, later = rng.randrange(7), rng.randint(2, 5)
        text = f"If today is {_DAYS[day]}, what day is it in {later} days?"
        return asks(text, _DAYS[(day + later) % 7], check="exact")
    odd = rng.choice(_TOOLS)
    words = [*rng.sample(_FRUIT, 3), odd]
    rng.shuffle(words)
    return asks(f"Which word does not belong: {', '.join(words)}?", odd, check="exact")


def _make_code(rng: random.Random) -> Question:
    a, b, word = rng.randint(3, 30), rng.randint(2, 9), rng.choice(_FRUIT)
    shape = rng.randrange(5)
    if shape == 0:
        return code_prints(f"print({a} % {b})", str(a % b))
    if shape == 1:
        return code_prints(f'print("{word}".upper())', word.upper())
    if shape == 2:
        return code_prints(f'print(len("{word}") + {b})', str(len(word) + b))
    if shape == 3:
        return code_prints(f"print(max({a}, {b}) - min({a}, {b}))", str(abs(a - b)))
    return code_prints(f'print("{word}"[-2:])', word[-2:])


def _make_rewrite(rng: random.Random) -> Question:
    shape = rng.randrange(4)
    if shape == 0:
        single, plural = rng.choice(_PLURALS)
        return asks(f"Give the plural of the word '{single}'.", plural, check="exact")
    if shape == 1:
        verb, past = rng.choice(_PASTS)
        return asks(f"Give the past tense of the verb 'to {verb}'.", past, check="exact")
    if shape == 2:
        day, month, year = rng.randint(1, 28), rng.choice(_MONTHS), rng.randint(1990, 2030)
        number = ("", "January", "February", "", "April", "", "June", "", "August", "", "October",
                  "", "December").index(month)  # fmt: skip
        text = f"Write the date {day} {month} {year} in the form YYYY-MM-DD."
        return asks(text, f"{year}-{number:02d}-{day:02d}", check="exact")
    words = rng.sample(_FRUIT, 3)
    text = f"Put these in alphabetical order, separated by commas: {', '.join(words)}"
    ordered = sorted(words)
    return asks(text, ", ".join(ordered), ",".join(ordered), check="exact")


_MAKERS: dict[str, Callable[[random.Random], Question]] = {
    "sentiment": _make_sentiment,
    "intent": _make_intent,
    "language": _make_language,
    "extract": _make_extract,
    "json": _make_json,
    "arithmetic": _make_arithmetic,
    "facts": _make_facts,
    "reasoning": _make_reasoning,
    "code": _make_code,
    "rewrite": _make_rewrite,
}
