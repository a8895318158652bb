"""What a question names: numbers, names and quoted strings, and where a text names them too."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["anchor_pattern", "anchors"]

_NUMBER = re.compile(r"\d+(?:[.,:/\-]\d+)*%?")
_QUOTED = re.compile(
    r"[\"“„«「『]([^\"“”„«»「」『』\n]{2,200})[\"”“»」』]|(?<!\w)[‘']([^'‘’\n]{2,100})[’'](?!\w)"
)
_NAME = re.compile(
    r"(?<![\w])(?:[^\W\d_a-zß-öø-ÿ][\w'’&.\-]*)(?:[ ](?:(?:of|de|von|van|der|la|del|and|&)[ ])?[^\W\d_a-zß-öø-ÿ][\w'’&.\-]*)*"
)
_MIXED = re.compile(r"(?<!\w)(?=\w*\d)(?=\w*[^\W\d_])[\w\-]{2,}|(?<!\w)[a-z]+[A-Z]\w*")
_KATAKANA = re.compile(r"[ァ-ヺー]{3,}")
_CASELESS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0590-\u06ff\u0900-\u0e7f\uac00-\ud7af]")

_ORDINARY = frozenset(
    # a table of words reads best as words
    re.findall(
        r"\w+",
        "a an and answer are as at be by can choose compare consider context could describe did do does "
        "during each enumerate explain find for from give given had has have how i if in instructions is "
        "it its let list may me might name no not of on or our please provide q question response select "
        "should so some state summarize tell than that the their then there these they this those to true "
        "false under using was we were what when where whether which while who whom whose why will with "
        "would yes you your der die das ein eine wer wann wo wie warum welche welcher welches le la les un "
        "une qui que quoi quand où comment pourquoi quel quelle el los las qué quién cuándo dónde cómo cuál",
    )
)
"""Words that begin with a capital because a sentence begins with them."""


def anchors(question: str) -> list[str]:
    """Return the numbers, names and quoted strings of a question, longest first, each once.

    A name is one or more words with a capital that is no ordinary word, or one with capitals or digits
    inside; of a name of several words the last counts by itself too. Scripts without capitals have none
    but those in katakana and those in quotation marks.

    >>> anchors('In 1903, who gave Marie Curie the "Davy Medal"? Which lab?')
    ['Marie Curie', 'Davy Medal', 'Curie', 'Medal', '1903']
    """
    found: dict[str, None] = {}
    for match in _QUOTED.finditer(question):
        found[(match.group(1) or match.group(2)).strip()] = None
    found.update(dict.fromkeys(_NUMBER.findall(question)))
    for match in _NAME.finditer(question):
        found.update(dict.fromkeys(_name(match.group())))
    found.update(dict.fromkeys(_MIXED.findall(question)))
    found.update(dict.fromkeys(_KATAKANA.findall(question)))
    return sorted((anchor for anchor in found if anchor), key=len, reverse=True)


def anchor_pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern for any of these where it stands by itself; None without any.

    A number is not found inside of a longer one, nor a word inside of another; in scripts that put no
    spaces between words it is found anywhere.
    """
    bounded: list[str] = []
    free: list[str] = []
    for name in names:
        (free if _CASELESS.search(name) else bounded).append(re.escape(name))
    alternatives = []
    if bounded:
        alternatives.append(rf"(?<![\w])(?<!\d[.,])(?:{'|'.join(bounded)})(?![\w]|[.,]\d)")
    if free:
        alternatives.append("|".join(free))
    return re.compile("|".join(alternatives)) if alternatives else None


def _name(words: str) -> Iterable[str]:
    """Yield a run of capitalised words without the ordinary ones at its ends, and its last word."""
    parts = [part.strip(".'’-&") for part in words.split(" ")]
    parts = [part.removesuffix("'s").removesuffix("’s") for part in parts]
    while parts and parts[0].lower() in _ORDINARY:
        parts.pop(0)
    while parts and parts[-1].lower() in _ORDINARY:
        parts.pop()
    if not parts or (len(parts) == 1 and len(parts[0]) < 2):
        return
    yield " ".join(parts)
    if len(parts) > 1 and len(parts[-1]) >= 4:
        yield parts[-1]
