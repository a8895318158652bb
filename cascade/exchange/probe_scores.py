"""Who was right: scores for a probe's answers, from the log's references or its own best answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError
from ..records import Response, TrafficRow
from ..types import Answer, Request
from .probe_plan import Candidate

__all__ = ["SCORINGS", "Scoring", "best_answer", "choose_scoring", "contains", "score_rows"]

SameClaim = Callable[[Request | None, Answer, Answer], bool | None]
"""(request, answer, answer) → whether both claim the same; None when they cannot be compared."""

Way = Literal["reference", "agreement", "none"]
SCORINGS = ("auto", "reference", "agreement", "none")

LEAST_AGREEMENT = 0.95
"""Share of the log's own scores that comparing with its references has to reproduce."""

CHECKED = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How answers are scored, and on what grounds.

    Attributes:
        way: ``reference``: against the log's reference answer; ``agreement``: against the best answer in
            the log; ``none``: a judge or a CSV will say (`cascade log label`).
        same: Compares an answer with that.
        told: All of it in words, with how well it was seen to agree with the log's own scores.
    """

    way: Way
    same: SameClaim
    told: str


def contains(request: Request | None, first: Answer, second: Answer) -> bool:
    """Return whether the first answer holds the text of the second as whole words, case aside.

    >>> contains(None, Answer(text="The code is 17.", model="m"), Answer(text="17", model="m"))
    True
    """
    wanted = (second.text or "").strip()
    pattern = rf"(?<!\w){re.escape(wanted)}(?!\w)"
    return bool(wanted) and re.search(pattern, first.text or "", re.IGNORECASE) is not None


def best_answer(row: TrafficRow) -> str | None:
    """Return the best answer that a row has: of those scored highest the first, else the last rung's."""
    with_text = [r for r in row.responses if r.text and not r.text.isspace()]
    scored = [r for r in with_text if r.score is not None]
    if scored:
        return max(scored, key=lambda r: r.score or 0.0).text
    return with_text[-1].text if with_text else None


def choose_scoring(wanted: str, candidates: Sequence[Candidate], same: SameClaim) -> Scoring:
    """Return how to score.

    Args:
        wanted: One of `SCORINGS`. ``auto``: by reference, where comparing with it reproduces the log's
            own scores, else by agreement.
        candidates: The prompts of the log.
        same: Compares what two answers claim.

    Raises:
        ConfigError: The log has not what is wanted.
    """
    if wanted == "none":
        return Scoring(
            way="none",
            same=same,
            told="not scored: `cascade log label` joins scores, from a CSV or a judge",
        )
    if wanted in ("auto", "reference"):
        found = _by_reference(candidates, same)
        if found is not None and (found[1] or wanted == "reference"):
            return found[0]
        if wanted == "reference":
            raise ConfigError("--score-by reference: no row of the log has a reference answer")
    if not any(best_answer(c.row) is not None for c in candidates):
        raise ConfigError(
            "--score-by agreement: no row of the log has an answer with text; --score-by none, and "
            "`cascade log label` afterwards"
        )
    return Scoring(
        way="agreement",
        same=same,
        told="scored by agreement with the best answer in the log (the highest score, else the last "
        "rung asked): it says whether compression changes answers, not whether they are right",
    )


def _by_reference(candidates: Sequence[Candidate], same: SameClaim) -> tuple[Scoring, bool] | None:
    """Return how to compare with references, and whether that is how the log itself scores.

    Of two ways to compare, the one that reproduces the log's own scores better; the first of equals.
    """
    if not any(_text(c.row.reference) for c in candidates):
        return None
    tried = []
    for words, compare in (("claims the same", same), ("holds it word for word", contains)):
        compared, agreed = _checked(candidates, compare)
        tried.append((agreed / compared if compared else 1.0, words, compare, compared))
    share, words, compare, compared = max(tried, key=lambda one: one[0])
    seen = (
        f"on {compared:,} answers that the log scores itself that says the same in {share:.1%}"
        if compared
        else "the log has no scores of its own to compare with"
    )
    told = f"scored by the log's reference answers: right is what {words}; {seen}"
    return Scoring(way="reference", same=compare, told=told), share >= LEAST_AGREEMENT


def score_rows(
    rows: Iterable[tuple[TrafficRow, str | None]],
    scoring: Scoring,
    requests: Callable[[TrafficRow], Request],
) -> list[TrafficRow]:
    """Return the rows with scores: 1 for right, 0 for wrong, None where there is nothing to compare with.

    Args:
        rows: Rows, each with the best answer the log had to it.
        scoring: How to score.
        requests: What was asked in a row.
    """
    found = []
    for row, best in rows:
        gold = {"agreement": best, "reference": _text(row.reference)}.get(scoring.way)
        if gold:
            request = requests(row)
            if scoring.same(request, _answer(gold), _answer(gold)) is not None:
                for response in row.responses:
                    response.score = _score(request, response, gold, scoring.same)
        found.append(row)
    return found


def _score(request: Request, response: Response, gold: str, same: SameClaim) -> float:
    if not response.text:
        return 0.0
    return float(same(request, _answer(response.text), _answer(gold)) or False)


def _checked(candidates: Sequence[Candidate], same: SameClaim) -> tuple[int, int]:
    """Return how many of the log's own right-or-wrong scores were compared, and how many agree."""
    compared = agreed = 0
    for candidate in candidates:
        gold = _text(candidate.row.reference)
        if not gold or same(candidate.request, _answer(gold), _answer(gold)) is None:
            continue
        for response in candidate.row.responses:
            if response.score in (0.0, 1.0) and response.text:
                compared += 1
                agreed += _score(candidate.request, response, gold, same) == response.score
        if compared >= CHECKED:
            break
    return compared, agreed


def _text(reference: object) -> str | None:
    if reference is None or isinstance(reference, str):
        return reference
    return str(reference) if isinstance(reference, int | float) else None


def _answer(text: str) -> Answer:
    return Answer(text=text, model="")
