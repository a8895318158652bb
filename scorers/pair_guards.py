"""Hard guards of near-duplicate matching: what two prompts must agree on before any score counts.

A score can be high for two prompts that differ in one number or one `not`; these guards refuse such
pairs whatever it says. They are strict on purpose: a miss costs a call, a wrong hit a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from .pair_text import PromptText
from .pair_words import PREFIXED, word_set

__all__ = ["GUARDS", "SETTABLE", "refusals"]


def refusals(
    cached: PromptText, asked: PromptText, *, allow: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the names of the guards that refuse this pair, in the order of `GUARDS`.

    Args:
        cached: The prompt that has an answer.
        asked: The prompt that wants one.
        allow: Guards that are switched off; only those in `SETTABLE` can be.

    >>> from scorers.pair_text import read_prompt
    >>> refusals(read_prompt("Is 5 km far?"), read_prompt("Is 6 miles far?"))
    ('numbers', 'units')
    """
    return tuple(
        name
        for name, refuses in _CHECKS
        if refuses(cached, asked) and not (name in allow and name in SETTABLE)
    )


def _numbers(a: PromptText, b: PromptText) -> bool:
    if a.numbers == b.numbers:
        return False
    # "500 and 1000" may be "1000 and 500"
    return not (
        len(a.numbers) == 2
        and a.numbers == b.numbers[::-1]
        and _ROLES.isdisjoint(a.words)
        and _joined(a.words, *a.numbers)
        and _joined(b.words, *a.numbers)
    )


def _dates(a: PromptText, b: PromptText) -> bool:
    return a.dates != b.dates


def _units(a: PromptText, b: PromptText) -> bool:
    return a.units != b.units and not (
        # "$5" and "5 dollars": the order of a sign and of a word says nothing
        len(a.numbers) < 2 and sorted(a.units) == sorted(b.units) and len(set(a.units)) < 2
    )


def _negation(a: PromptText, b: PromptText) -> bool:
    if a.negations != b.negations:
        return True
    ours_denied, theirs_denied = _denied(a), _denied(b)
    # "isn't the sky green" denies what "is the sky not green" denies: only bare words are compared
    if len(ours_denied) == len(theirs_denied) and ours_denied != theirs_denied:
        return True
    ours, theirs = set(a.words), set(b.words)
    only_a, only_b = ours - theirs, theirs - ours
    return _opposite(only_a, only_b) or _opposite(only_b, only_a)


def _denied(text: PromptText) -> list[str]:
    """Return what each `not`, `never` and `without` denies: the next word of content."""
    found = []
    for i, word in enumerate(text.words):
        if word in _DENYING:
            found.append(next((s for s in text.stems[i + 1 :] if s in text.content), ""))
    return found


def _opposite(ones: set[str], others: set[str]) -> bool:
    for other in others:
        if len(other) > 4:
            for size in (2, 3, 4):
                if other[:size] in PREFIXED and other[size:] in ones:
                    return True
        if other.endswith("less") and other[:-4] + "ful" in ones:
            return True
    return False


def _quotes(a: PromptText, b: PromptText) -> bool:
    return a.quotes != b.quotes


def _code(a: PromptText, b: PromptText) -> bool:
    return a.code != b.code


def _urls(a: PromptText, b: PromptText) -> bool:
    return a.urls != b.urls


def _names(a: PromptText, b: PromptText) -> bool:
    # A name may be written without its capital: it has to be among the other's words.
    if not (a.names or b.names):
        return False
    if not (set(b.words).issuperset(a.names) and set(a.words).issuperset(b.names)):
        return True
    # "What can Wizards do in a war of Wizards and Muggles?": which of them is named again matters.
    known = {*a.names, *b.names}
    return len(known) > 1 and sorted(w for w in a.words if w in known) != sorted(
        w for w in b.words if w in known
    )


def _comparison(a: PromptText, b: PromptText) -> bool:
    return _poles_differ(a, b) or _changed_places(a, b)


def _poles_differ(a: PromptText, b: PromptText) -> bool:
    """Whether one speaks of more where the other speaks of less, or both of both in another order."""
    for axis in {axis for axis, _, _ in a.poles} & {axis for axis, _, _ in b.poles}:
        ours = [(pole, word) for x, pole, word in a.poles if x == axis]
        theirs = [(pole, word) for x, pole, word in b.poles if x == axis]
        if {pole for pole, _ in ours} != {pole for pole, _ in theirs}:
            return True
        if len({pole for pole, _ in ours}) == 2 and [p for p, _ in ours] != [p for p, _ in theirs]:
            left, right = ours[0][1], ours[-1][1]
            if not (_joined(a.words, left, right) and _joined(b.words, left, right)):
                return True
    return False


def _language(a: PromptText, b: PromptText) -> bool:
    return a.language != b.language and "" not in (a.language, b.language)


def _time_dependent(a: PromptText, b: PromptText) -> bool:
    return bool(a.time_dependent or b.time_dependent)


def _refers_back(a: PromptText, b: PromptText) -> bool:
    return bool(a.refers_back or b.refers_back)


_CHECKS: tuple[tuple[str, Callable[[PromptText, PromptText], bool]], ...] = (
    ("numbers", _numbers),
    ("dates", _dates),
    ("units", _units),
    ("negation", _negation),
    ("quotes", _quotes),
    ("code", _code),
    ("urls", _urls),
    ("names", _names),
    ("comparison", _comparison),
    ("language", _language),
    ("time_dependent", _time_dependent),
    ("refers_back", _refers_back),
)

GUARDS = tuple(name for name, _ in _CHECKS)
SETTABLE = ("time_dependent", "refers_back")
"""Guards that a user may switch off, knowing that answers do not age or that turns stand alone."""

_MOSTLY = 0.75
"""Share of the content that both have, from which its order says whether they ask the same."""
_DENYING = word_set("not never without")
_JOINING = word_set("and or vs versus nor & und et y o e")
_BESIDE_JOINING = _JOINING | word_set("a an the my your our some any both either between of")
_ROLES = word_set("respectively than then prefer rather instead")
_BEFORE_A_PLACE = word_set(
    "in on at for with without using during after before as since under over within while by via of from"
)


def _changed_places(a: PromptText, b: PromptText) -> bool:
    """Whether the same things stand in another order, and not merely so.

    Two neighbours joined by `and` or `or` may change places, and so may a part that the same
    preposition leads in both ("in Java, how do I …").
    """
    ours, theirs = a.content, b.content
    if ours == theirs:
        return False
    if sorted(ours) != sorted(theirs):
        shared = set(ours) & set(theirs)
        if len(shared) < _MOSTLY * max(len(set(ours)), len(set(theirs))):
            return False
        ours = tuple(dict.fromkeys(s for s in ours if s in shared))
        theirs = tuple(dict.fromkeys(s for s in theirs if s in shared))
        if ours == theirs:
            return False
    start = next(i for i, (x, y) in enumerate(zip(ours, theirs, strict=True)) if x != y)
    end = len(ours)
    while ours[end - 1] == theirs[end - 1]:
        end -= 1
    moved, others = ours[start:end], theirs[start:end]
    for cut in range(1, len(moved)):
        if others == moved[cut:] + moved[:cut]:
            left, right = moved[:cut], moved[cut:]
            return not (
                _both_joined(a, b, left, right) or _led_alike(a, b, left) or _led_alike(a, b, right)
            )
    return True


def _both_joined(a: PromptText, b: PromptText, left: Sequence[str], right: Sequence[str]) -> bool:
    return (
        _ROLES.isdisjoint(a.words)
        and _joined(a.stems, left[-1], right[0])
        and _joined(b.stems, right[-1], left[0])
    )


def _joined(words: Sequence[str], left: str, right: str) -> bool:
    """Whether only `and`, `or`, `vs` and articles stand between two words, in either order."""
    if left not in words or right not in words:
        return False
    first, last = sorted((words.index(left), words.index(right)))
    between = words[first + 1 : last]
    return not _JOINING.isdisjoint(between) and _BESIDE_JOINING.issuperset(between)


def _led_alike(a: PromptText, b: PromptText, part: Sequence[str]) -> bool:
    """Whether the same preposition leads a part in both texts."""
    led = _led_by(a, part[0])
    return led is not None and led == _led_by(b, part[0])


def _led_by(text: PromptText, stem: str) -> str | None:
    at = text.stems.index(stem)
    for word in reversed(text.words[max(0, at - 3) : at]):
        if word in _BEFORE_A_PLACE:
            return word
        if word not in _BESIDE_JOINING:
            return None
    return None
