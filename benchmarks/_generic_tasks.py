"""Questions made from templates whose answers can be checked: what the generic prior's log is made of.

Each task asks one kind of thing in several styles of instruction: to reason in steps, to answer in a
word, to choose a letter, to fill a JSON object. Right or wrong is decided by comparison alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

__all__ = ["TASKS", "Asked", "is_right", "make_questions"]

Kind = Literal["number", "letter", "label", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question with a checkable answer.

    Attributes:
        id: Task and number, such as ``two_steps-17``.
        task: The kind of question.
        prompt: The user's message.
        system: The system message; None where the prompt says all.
        kind: What the answer is: a number, a letter of the options, one of the labels, or a text.
        right: The right answer.
        labels: The labels or the options' letters to choose from; empty for numbers and texts.
        options: What stands behind each letter; empty for the other kinds.
        field: The JSON field that holds the answer, where an object was asked for.
        example: A question and its answer as an earlier turn of the chat, or None.
    """

    id: str
    task: str
    prompt: str
    system: str | None
    kind: Kind
    right: str
    labels: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    field: str | None = None
    example: tuple[str, str] | None = None

    def messages(self) -> list[dict[str, str]]:
        """Return the chat that asks it."""
        turns = [] if self.system is None else [("system", self.system)]
        if self.example is not None:
            turns += zip(("user", "assistant"), self.example, strict=True)
        return [{"role": role, "content": text} for role, text in (*turns, ("user", self.prompt))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Core:
    """A question before it is put in a style."""

    text: str
    kind: Kind
    right: str
    choices: tuple[str, ...] = ()
    """Labels, or the texts of the options."""


def make_questions(each: int, seed: int = 0) -> list[Asked]:
    """Return `each` different questions of every task, by turns; the same for the same seed."""
    by_task = [_of_task(task, each, seed) for task in TASKS]
    return [asked for turn in zip(*by_task, strict=True) for asked in turn]


def is_right(asked: Asked, text: str) -> bool:
    """Tell whether an answer is right.

    What counts is the wanted JSON field, else what follows the last ``####`` or ``Answer:``, else
    the whole text: its last number, its only letter or label, or the wanted words.

    >>> sum_of = Asked(id="", task="", prompt="", system=None, kind="number", right="7")
    >>> is_right(sum_of, "3 + 4 = 7 #### 7"), is_right(sum_of, "3 + 4 = 8"), is_right(sum_of, "")
    (True, False, False)
    """
    said = _said(asked, text)
    if asked.kind == "number":
        numbers = re.findall(r"-?\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", said))
        return bool(numbers) and float(numbers[-1]) == float(asked.right)
    if asked.kind == "letter":
        named = set(re.findall(r"(?<![A-Za-z])[A-E](?![A-Za-z'])", said))
        if not named:
            named = {
                letter
                for letter, option in zip(asked.labels, asked.options, strict=True)
                if _names(said, option)
            }
        return named == {asked.right}
    if asked.kind == "label":
        return {label for label in asked.labels if _names(said, label)} == {asked.right}
    return _names(said, asked.right)


def _said(asked: Asked, text: str) -> str:
    if asked.field is not None:
        found = re.search(r"\{.*\}", text, re.DOTALL)
        try:
            value = json.loads(found.group()) if found else None
        except ValueError:
            return ""
        return str(value.get(asked.field, "")) if isinstance(value, dict) else ""
    parts = re.split(r"####|(?i:\banswer(?: is)?\s*:)", text)
    marked = [part for part in parts[1:] if part.strip()]
    return marked[-1] if marked else text


def _names(text: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) is not None


_Make = Callable[[Random], _Core]

_PEOPLE = ("Mara", "Tom", "Ines", "Ravi", "Lena", "Oskar", "Yuki", "Paul", "Nadia", "Felix")
_THINGS = ("pencils", "tickets", "tiles", "candles", "stamps", "buttons", "apples", "jars", "seeds")
_PLACES = ("a shed", "a kiosk", "a school", "a workshop", "a garden", "a library")


def _two_steps(r: Random) -> _Core:
    who, what, where = r.choice(_PEOPLE), r.choice(_THINGS), r.choice(_PLACES)
    a, b, c = r.randint(3, 12), r.randint(3, 12), r.randint(2, 25)
    if r.random() < 0.5:
        c = min(c, a * b - 1)
        text = (
            f"{who} works in {where} and fills {a} boxes with {b} {what} each. Then {c} {what} are "
            f"given away. How many {what} does {who} still have?"
        )
        return _Core(text=text, kind="number", right=str(a * b - c))
    text = (
        f"In {where} there are {a} shelves with {b} {what} on each, and {c} {what} in a drawer. "
        f"How many {what} are there in all?"
    )
    return _Core(text=text, kind="number", right=str(a * b + c))


def _three_steps(r: Random) -> _Core:
    who, other = r.sample(_PEOPLE, 2)
    what = r.choice(_THINGS)
    a, b, price, days = r.randint(5, 30), r.randint(2, 5), r.randint(2, 9), r.randint(2, 6)
    kind = r.randrange(3)
    if kind == 0:
        text = (
            f"{who} sells {a} {what} on the first day and {b} times as many on the second day. "
            f"Each costs {price} dollars. How many dollars does {who} take in over both days?"
        )
        return _Core(text=text, kind="number", right=str((a + a * b) * price))
    if kind == 1:
        text = (
            f"{who} has {a} {what}. {other} has {b} more than {who}. They put them together and "
            f"buy another {price} packs of {days}. How many {what} do they have then?"
        )
        return _Core(text=text, kind="number", right=str(2 * a + b + price * days))
    half = 2 * a
    text = (
        f"A crate holds {half * days} {what}. {who} uses {half} of them every day for {days - 1} "
        f"days, and half of the rest goes to {other}. How many {what} does {other} get?"
    )
    return _Core(text=text, kind="number", right=str(a))


def _sums(r: Random) -> _Core:
    a, b, c = r.randint(11, 99), r.randint(3, 99), r.randint(2, 12)
    form, value = r.choice(
        (
            (f"{a} + {b}", a + b),
            (f"{a + b} - {b}", a),
            (f"{a} * {c}", a * c),
            (f"{a} + {b} - {c}", a + b - c),
            (f"{c} * {c + 3} + {b}", c * (c + 3) + b),
            (f"({a} + {b}) * {c}", (a + b) * c),
        )
    )
    return _Core(text=f"What is {form}?", kind="number", right=str(value))


def _clock(r: Random) -> _Core:
    hour, minute, more = r.randint(1, 20), r.randrange(0, 60, 5), r.randrange(10, 150, 5)
    end = hour * 60 + minute + more
    text = f"A film starts at {hour:02d}:{minute:02d} and lasts {more} minutes. When does it end?"
    right = f"{end // 60:02d}:{end % 60:02d}"
    wrong = [f"{(end + d) // 60:02d}:{(end + d) % 60:02d}" for d in (-60, -10, 15, 60)]
    return _choice(r, text, right, r.sample(wrong, 3))


_FACTS = {
    "Which city is the capital of {}?": (
        *(("Portugal", "Lisbon"), ("Kenya", "Nairobi"), ("Peru", "Lima"), ("Greece", "Athens")),
        *(("Finland", "Helsinki"), ("Vietnam", "Hanoi"), ("Chile", "Santiago"), ("Cuba", "Havana")),
        *(("Hungary", "Budapest"), ("Egypt", "Cairo"), ("Ghana", "Accra"), ("Nepal", "Kathmandu")),
        *(("Canada", "Ottawa"), ("Australia", "Canberra"), ("Turkey", "Ankara")),
        *(("Morocco", "Rabat"), ("Latvia", "Riga"), ("Bulgaria", "Sofia"), ("Qatar", "Doha")),
    ),
    "What is the chemical symbol of {}?": (
        *(("iron", "Fe"), ("tin", "Sn"), ("lead", "Pb"), ("silver", "Ag"), ("sodium", "Na")),
        *(
            ("potassium", "K"),
            ("copper", "Cu"),
            ("helium", "He"),
            ("tungsten", "W"),
            ("zinc", "Zn"),
        ),
        *(("mercury", "Hg"), ("calcium", "Ca"), ("nickel", "Ni"), ("chlorine", "Cl")),
    ),
    "On which continent is {}?": (
        *(
            ("Bolivia", "South America"),
            ("Mali", "Africa"),
            ("Laos", "Asia"),
            ("Estonia", "Europe"),
        ),
        *(
            ("Honduras", "North America"),
            ("Zambia", "Africa"),
            ("Oman", "Asia"),
            ("Malta", "Europe"),
        ),
        *(("Uruguay", "South America"), ("Jamaica", "North America"), ("Chad", "Africa")),
    ),
    "What is a young {} called?": (
        *(
            ("goat", "kid"),
            ("swan", "cygnet"),
            ("horse", "foal"),
            ("sheep", "lamb"),
            ("cow", "calf"),
        ),
        *(("frog", "tadpole"), ("goose", "gosling"), ("kangaroo", "joey"), ("deer", "fawn")),
        *(("bear", "cub"), ("owl", "owlet"), ("pig", "piglet"), ("eel", "elver")),
    ),
    "Who wrote {}?": (
        *(("Hamlet", "Shakespeare"), ("War and Peace", "Tolstoy"), ("The Trial", "Kafka")),
        *(("Emma", "Austen"), ("Oliver Twist", "Dickens"), ("Ulysses", "Joyce")),
        *(("Faust", "Goethe"), ("Don Quixote", "Cervantes"), ("Candide", "Voltaire")),
        *(("Dracula", "Stoker"), ("The Odyssey", "Homer"), ("Frankenstein", "Shelley")),
    ),
    "Which planet or moon fits: {}?": (
        *(("the largest planet", "Jupiter"), ("the planet nearest the sun", "Mercury")),
        *(("the planet with the widest rings", "Saturn"), ("the red planet", "Mars")),
        *(("the hottest planet", "Venus"), ("the planet farthest from the sun", "Neptune")),
        *(("a moon of Saturn", "Titan"), ("a moon of Jupiter", "Europa")),
    ),
}


def _choice(r: Random, text: str, right: str, wrong: Sequence[str]) -> _Core:
    choices = [right, *wrong]
    r.shuffle(choices)
    return _Core(text=text, kind="letter", right=right, choices=tuple(choices))


def _fact(r: Random) -> tuple[str, str, list[str]]:
    question, rows = r.choice(list(_FACTS.items()))
    asked, right = r.choice(rows)
    others = sorted({answer for _, answer in rows if answer != right})
    return question.format(asked), right, r.sample(others, 3)


def _fact_choice(r: Random) -> _Core:
    return _choice(r, *_fact(r))


def _fact_short(r: Random) -> _Core:
    text, right, _ = _fact(r)
    return _Core(text=text, kind="text", right=right)


def _order(r: Random) -> _Core:
    kind = r.randrange(3)
    if kind == 0:
        whole = r.sample(range(2, 9), 4)
        values = [f"{n}.{r.randint(1, 99):02d}" if r.random() < 0.5 else f"{n}" for n in whole]
        best = max(values, key=float)
        return _choice(r, "Which number is the largest?", best, [v for v in values if v != best])
    if kind == 1:
        a, b, c, d = r.sample(_PEOPLE, 4)
        text = f"{a} is older than {b}. {c} is younger than {b}. {d} is older than {a}. Who is "
        ask, right = r.choice((("the oldest", d), ("the youngest", c)))
        return _choice(r, f"{text}{ask}?", right, [p for p in (a, b, c, d) if p != right])
    words = r.sample(("garden", "bridge", "window", "cellar", "anchor", "pocket", "ladder"), 4)
    first = min(words)
    text = "Which of these words comes first in the dictionary?"
    return _choice(r, text, first, [w for w in words if w != first])


_MESSAGES = {
    "invoice": (
        *("The amount on my bill is higher than what we agreed.", "Please send the receipt again."),
        *("Why am I charged for a month in which I was away?", "My card was debited two times."),
        "The discount that you promised is not on the statement.",
    ),
    "shipping": (
        *("The parcel should have been here on Monday.", "Can it be left with my neighbour?"),
        *("The tracking page has not changed for a week.", "The box came with one corner crushed."),
        "I would like it sent to my office instead.",
    ),
    "account": (
        *("I no longer have the phone that gets the codes.", "How do I change my user name?"),
        *("It says that my password has expired.", "Please delete everything you hold about me."),
        "Somebody else seems to be signed in as me.",
    ),
    "fault": (
        *("The screen goes black as soon as I open the menu.", "The motor hums but does not turn."),
        *("Every export ends with an empty file.", "It restarts by itself at night."),
        "After the update the sound is gone on one side.",
    ),
}
_TONE = {
    "positive": (
        *("The soup alone is worth the trip.", "I lost track of time, and gladly."),
        *("It does what it says and asks for nothing.", "We have booked again for next year."),
        "Hardly a page that I did not want to read aloud.",
    ),
    "negative": (
        *(
            "We waited an hour to be told the kitchen was closed.",
            "The lid broke on the second day.",
        ),
        *("I have had better coffee from a machine.", "Two hours that I will not get back."),
        "The map in it is of another town.",
    ),
    "mixed": (
        *("The room is lovely, the street outside is not.", "Great lens, poor battery."),
        *("It is fast when it works, and it often does not.", "Good food, but rude service."),
        "I liked the first half and slept through the other.",
    ),
}


def _label(r: Random) -> _Core:
    table, ask = r.choice(
        (
            (_MESSAGES, "What is this message from a customer about?"),
            (_TONE, "What is the tone of this remark?"),
        )
    )
    label = r.choice(list(table))
    before = r.choice(("", "Hello, ", "Well: ", "To be short: ", "Again, "))
    text = f'{ask} Choose from {", ".join(table)}.\n\n"{before}{r.choice(table[label])}"'
    return _Core(text=text, kind="label", right=label, choices=tuple(table))


def _extract(r: Random) -> _Core:
    a, b = r.sample(_PEOPLE, 2)
    n, m, hour = r.randint(2, 9), r.randint(11, 48), r.randint(7, 19)
    what, day = r.choice(_THINGS), r.choice(("Monday", "Tuesday", "Friday", "Sunday"))
    story = (
        f"On {day} at {hour} o'clock {a} carried {m} {what} to the market, sold {n} of them to {b} "
        f"and went home by bus."
    )
    ask, right, kind = r.choice(
        (
            ("Who bought something?", b, "text"),
            ("On which day was that?", day, "text"),
            (f"How many {what} were sold?", str(n), "number"),
            (f"How many {what} were not sold?", str(m - n), "number"),
            ("How many hours before midnight was it?", str(24 - hour), "number"),
        )
    )
    return _Core(text=f"{story} {ask}", kind="number" if kind == "number" else "text", right=right)


def _count(r: Random) -> _Core:
    words = r.sample(("bear", "table", "seven", "river", "banana", "cloud", "eagle", "stone"), 5)
    letter = r.choice("abe")
    ask, value = r.choice(
        (
            ("How many of these words have five letters?", sum(len(w) == 5 for w in words)),
            (
                f"How many of these words begin with '{letter}'?",
                sum(w[0] == letter for w in words),
            ),
            ("How many words are in this list?", len(words)),
        )
    )
    numbers = [r.randint(1, 40) for _ in range(5)]
    other = r.choice(
        (
            ("How many of these numbers are even?", sum(n % 2 == 0 for n in numbers)),
            ("What is the sum of the first and the last number?", numbers[0] + numbers[-1]),
            ("How many of these numbers are greater than 20?", sum(n > 20 for n in numbers)),
        )
    )
    if r.random() < 0.5:
        return _Core(text=f"{', '.join(words)}\n{ask}", kind="number", right=str(value))
    listed = ", ".join(map(str, numbers))
    return _Core(text=f"{listed}\n{other[0]}", kind="number", right=str(other[1]))


TASKS: dict[str, _Make] = {
    "two_steps": _two_steps,
    "three_steps": _three_steps,
    "sums": _sums,
    "clock": _clock,
    "fact_choice": _fact_choice,
    "fact_short": _fact_short,
    "order": _order,
    "label": _label,
    "extract": _extract,
    "count": _count,
}

_NUMBER_ASKED = "Ana has 4 bags with 6 nuts each and eats 5 nuts. How many nuts are left?"
_LETTER_ASKED = "Which of these can fly?\nA. snail\nB. sparrow\nC. mole\nD. trout"
_LABEL_ASKED = 'Is this a question or an order? Choose from question, order.\n\n"Close the door."'
_TEXT_ASKED = "Ali gave the red ball to Bo. Who has the ball?"

_STEPS = {
    "number": (
        (
            "Work it out in short steps, one equation a line, and end with '#### ' and the number.",
            (_NUMBER_ASKED, "4 * 6 = 24 nuts\n24 - 5 = 19 nuts\n#### 19"),
        ),
        (
            "Solve this step by step. The last line is 'Answer: ' and the number.",
            (
                _NUMBER_ASKED,
                "There are 4 * 6 = 24 nuts in the bags. After eating 5, 24 - 5 = 19 are left."
                "\nAnswer: 19",
            ),
        ),
        (
            "Explain in one or two sentences how you get there, then give the result.",
            (_NUMBER_ASKED, "4 bags of 6 nuts make 24 nuts, and 24 - 5 = 19. The result is 19."),
        ),
    ),
    "letter": (
        (
            "Think in one or two short sentences, then end with 'Answer: ' and the letter.",
            (_LETTER_ASKED, "A sparrow is a bird, and the others have no wings.\nAnswer: B"),
        ),
        (
            "Say why in a sentence. Finish with '#### ' and the letter.",
            (_LETTER_ASKED, "Of these only the sparrow has wings. #### B"),
        ),
    ),
    "label": (
        (
            "Give a short reason, then on a new line 'Answer: ' and the label.",
            (_LABEL_ASKED, "It tells somebody to do something.\nAnswer: order"),
        ),
    ),
    "text": (
        (
            "Think in one short sentence, then end with 'Answer: ' and the answer.",
            (_TEXT_ASKED, "Ali gave it to Bo, so Bo has it now. Answer: Bo"),
        ),
    ),
}
"""Styles that ask for reasons: the instruction, and an example as an earlier turn of the chat."""
_SHORT = {
    "number": ("Answer with the number only.", "Give only the final number."),
    "letter": ("Answer with the letter only.", "Reply with one letter and nothing else."),
    "label": ("Answer with one label only.",),
    "text": ("Answer in one or two words.", "Give only the answer, as short as possible."),
}
_OBJECT = (
    'Reply with a JSON object with the fields "reasoning" (one or two sentences) and "answer".'
)
_OBJECTS = {
    "number": (_NUMBER_ASKED, '{"reasoning": "4 * 6 = 24, and 24 - 5 = 19.", "answer": "19"}'),
    "letter": (_LETTER_ASKED, '{"reasoning": "Only a sparrow has wings.", "answer": "B"}'),
    "label": (_LABEL_ASKED, '{"reasoning": "It demands an action.", "answer": "order"}'),
    "text": (_TEXT_ASKED, '{"reasoning": "Ali gave it to Bo.", "answer": "Bo"}'),
}
_SHOWN = 0.95
"""Share of the questions that ask for reasons or an object which come with an example."""
_REASONED = ("two_steps", "three_steps")
"""Tasks that are hardly ever asked for the bare answer."""


def _of_task(task: str, each: int, seed: int) -> list[Asked]:
    r = Random(f"{seed} {task}")
    found: list[Asked] = []
    seen: set[tuple[str, str | None]] = set()
    while len(found) < each:
        core = TASKS[task](r)
        asked = _styled(core, task, f"{task}-{len(found) + 1}", r)
        if (asked.prompt, asked.system) not in seen:
            seen.add((asked.prompt, asked.system))
            found.append(asked)
    return found


def _styled(core: _Core, task: str, name: str, r: Random) -> Asked:
    share = r.random()
    short = 0.1 if task in _REASONED else 0.5
    field = None
    example = None
    if share < short:
        how = r.choice(_SHORT[core.kind])
    elif share < short + 0.2:
        how, field, example = _OBJECT, "answer", _OBJECTS[core.kind]
    else:
        how, example = r.choice(_STEPS[core.kind])
    if r.random() >= _SHOWN:
        example = None
    text, right, labels, options = core.text, core.right, core.choices, ()
    if core.kind == "letter":
        labels, options = tuple("ABCDE"[: len(core.choices)]), core.choices
        right = labels[core.choices.index(core.right)]
        mark = r.choice(("{}. {}", "{}) {}", "({}) {}"))
        lines = [mark.format(a, b) for a, b in zip(labels, options, strict=True)]
        text = "\n".join([text, *lines])
    place = r.randrange(3) if example is None else 0
    prompt = (text, f"{how}\n\n{text}", f"{text}\n\n{how}")[place]
    return Asked(
        id=name,
        task=task,
        prompt=prompt,
        system=how if place == 0 else None,
        kind=core.kind,
        right=right,
        labels=labels,
        options=options,
        field=field,
        example=example,
    )
