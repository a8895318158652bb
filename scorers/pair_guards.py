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
    return a.numbers != b.numbers and not _joined_only(a.numbers, b.numbers, a, b)


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
    ours, theirs = set(a.words), set(b.words)
    only_a, only_b = ours - theirs, theirs - ours
    return _opposite(only_a, only_b) or _opposite(only_b, only_a)


def _opposite(ones: set[str], others: set[str]) -> bool:
    return any(
        prefix + one in others or (one.endswith("ful") and one[:-3] + "less" in others)
        for one in ones
        if len(one) > 2
        for prefix in PREFIXED
    )


def _quotes(a: PromptText, b: PromptText) -> bool:
    return a.quotes != b.quotes


def _code(a: PromptText, b: PromptText) -> bool:
    return a.code != b.code


def _urls(a: PromptText, b: PromptText) -> bool:
    return a.urls != b.urls


def _names(a: PromptText, b: PromptText) -> bool:
    if not (a.names or b.names):
        return False
    # A name may be written without its capital: it has to be among the other's words.
    if not (set(b.words).issuperset(a.names) and set(a.words).issuperset(b.names)):
        return True
    known = {*a.names, *b.names}
    ours, theirs = _first_of(a.words, known), _first_of(b.words, known)
    return ours != theirs and not _joined_only(ours, theirs, a, b)


def _comparison(a: PromptText, b: PromptText) -> bool:
    if a.poles and b.poles:
        axes = {axis for axis, _, _ in a.poles} & {axis for axis, _, _ in b.poles}
        for axis in axes:
            ours = [pole for x, pole, _ in a.poles if x == axis]
            theirs = [pole for x, pole, _ in b.poles if x == axis]
            if set(ours) != set(theirs):
                return True
            if len(set(ours)) == 2 and _runs(ours) != _runs(theirs):
                first = _first_of(a.words, {w for x, _, w in a.poles if x == axis})
                second = _first_of(b.words, {w for x, _, w in b.poles if x == axis})
                if not _joined_only(first, second, a, b):
                    return True
    return _roles_swapped(a.words, a.stems, b.words, b.stems)


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

_DIRECTED = word_set(
    "than from to into with without by against over after before instead rather for of on under "
    "beats beat versus toward towards like as is are be causes cause but not who"
)


def _roles_swapped(
    words: Sequence[str], stems: Sequence[str], others: Sequence[str], other_stems: Sequence[str]
) -> bool:
    """Whether two things have changed places around a word that gives them their roles.

    Both texts have the same stems in another order, and behind `than`, `to`, `with`, … stands
    another of them.
    """
    if stems == other_stems or sorted(stems) != sorted(other_stems):
        return False
    behind, other_behind = _behind(words, stems), _behind(others, other_stems)
    return any(behind[w] != other_behind[w] for w in behind.keys() & other_behind.keys())


def _behind(words: Sequence[str], stems: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for i, word in enumerate(words[:-1]):
        if word in _DIRECTED:
            found.setdefault(word, []).append(stems[i + 1])
    return found


def _joined_only(ours: Sequence[str], theirs: Sequence[str], a: PromptText, b: PromptText) -> bool:
    """Whether the two sequences differ by one swap of neighbours that `and`, `or`, `vs` joins in both."""
    if len(ours) != len(theirs):
        return False
    differ = [i for i, (x, y) in enumerate(zip(ours, theirs, strict=True)) if x != y]
    if len(differ) != 2:
        return False
    i, j = differ
    if (ours[i], ours[j]) != (theirs[j], theirs[i]):
        return False
    pair = (ours[i], ours[j]) if ours[i] < ours[j] else (ours[j], ours[i])
    return pair in a.symmetric and pair in b.symmetric and not a.directed and not b.directed


def _first_of(words: Sequence[str], known: set[str]) -> list[str]:
    """Return the known words in order, each once, where it first stands."""
    return list(dict.fromkeys(w for w in words if w in known))


def _runs(poles: Sequence[int]) -> list[int]:
    return [pole for i, pole in enumerate(poles) if i == 0 or poles[i - 1] != pole]
