"""The report as one HTML file: figures and texts as JSON in a page that needs no network and no library.

Prompts, answers and model names come from strangers. They enter the page only inside one JSON
block in which ``<``, ``>`` and ``&`` are escaped, the script puts them on the page as text and never
as HTML, and the page's own policy (Content-Security-Policy) lets no other script run and nothing
be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

import msgspec

from .report import Figures

__all__ = ["About", "Text", "excerpt", "page", "texts_of"]

PROMPT_CHARS = 420
"""Of a prompt at most; what is left out is left out in its middle."""

ANSWER_CHARS = 360


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures come from.

    Attributes:
        title: Of the page.
        made: When, ISO 8601.
        program: Name and version of what made it.
        logs: The logs, by name.
        digest: Of the rows measured.
        scorer: Its version; None without one.
        measured_on: Which rows, in words.
        chosen_on: Which rows the policies were chosen on, in words.
        notes: What the reader should know before trusting this, in words.
        seed: Of everything drawn.
    """

    title: str
    made: str
    program: str
    logs: list[str]
    digest: str
    scorer: str | None
    measured_on: str
    chosen_on: str
    notes: list[str]
    seed: int


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered, in excerpts; None where the log does not say."""

    prompt: str | None
    answers: dict[str, str | None]


def page(figures: Figures, about: About, texts: Mapping[int, Text] | None) -> str:
    """Return the page.

    Args:
        figures: What `cascade.replay.report.figures` found.
        about: Where they come from.
        texts: By `Mistake.row`; None to show no text at all.
    """
    template = files("cascade.replay").joinpath("page.html").read_text(encoding="utf-8")
    holders = {
        "%SCRIPT%": _digest(template, "script"),
        "%STYLE%": _digest(template, "style"),
        "%TITLE%": html.escape(_sound(about.title)),
        "%SUMMARY%": html.escape(_sound(_summary(figures))),
        "%DATA%": embedded({"about": about, "figures": figures, "texts": texts}),
    }
    # In one pass, so that nothing put in is taken for a place holder.
    return re.sub("|".join(holders), lambda found: holders[found[0]], template)


def embedded(data: object) -> str:
    """Return JSON that may stand inside a script element, whatever it holds.

    >>> embedded("</script><!-- &")
    '"\\\\u003c/script\\\\u003e\\\\u003c!-- \\\\u0026"'
    """
    plain = _plain(msgspec.to_builtins(data, enc_hook=_refuse))
    text = msgspec.json.encode(plain).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def texts_of(
    figures: Figures,
    models: Sequence[str],
    prompts: Sequence[str],
    answers: Sequence[Sequence[str | None]],
) -> dict[int, Text]:
    """Return the texts of all mistakes that the page lists.

    Args:
        figures: The mistakes.
        models: Columns of `answers`.
        prompts: By row of the report table.
        answers: The same.
    """
    found: dict[int, Text] = {}
    for position in figures.frontier:
        for mistake in position.mistakes.worst:
            wanted = {figures.strongest, mistake.kept}
            said = {
                model: None if text is None else excerpt(text, ANSWER_CHARS)
                for model, text in zip(models, answers[mistake.row], strict=True)
                if model in wanted
            }
            before = found.get(mistake.row)
            if before is not None:
                said = before.answers | said
            prompt = excerpt(prompts[mistake.row], PROMPT_CHARS)
            found[mistake.row] = Text(prompt=prompt, answers=said)
    return found


def excerpt(text: str, most: int) -> str:
    """Return a text, or its beginning and its end: questions and answers both end with what matters.

    >>> excerpt("0123456789", 6)
    '0123 … 89'
    """
    text = _sound(text.strip())
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail].rstrip()} … {text[-tail:].lstrip()}"


def _summary(figures: Figures) -> str:
    told = []
    for level in figures.levels:
        saved = level.saved.value
        shown = "unknown" if saved != saved else f"{saved:.1%}"
        told.append(f"{shown} at {level.share:.0%}")
    return (
        f"Saved at a share of the quality of always asking {figures.strongest}: {', '.join(told)}; "
        f"{figures.n:,} requests."
    )


def _digest(template: str, tag: str) -> str:
    """Return what the page's policy calls its one script or style sheet."""
    inside = re.search(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
    assert inside is not None
    digest = hashlib.sha256(inside.group(1).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _sound(text: str) -> str:
    """Half of a surrogate pair has no place in a UTF-8 file."""
    return text.encode("utf-8", "replace").decode()


def _plain(value: object) -> object:
    """Return the same value, every text in it sound."""
    if isinstance(value, str):
        return _sound(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no place in the page")
