"""Makes cache entries of a decision log, so that a new cache does not begin empty.

Only logs with text hold answers. An entry is made where the log says that the answer was accepted by
the very ladder it is to serve; requests that the log does not hold whole (stop sequences, tools, …)
are found again by their digest, but never as near-duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .cached import Keeping, why_not_kept
from .ending import Ending
from .errors import CascadeError
from .fingerprint import cache_key, cache_scope, request_digest
from .intake import make_request
from .types import Answer, Attempt, CacheEntry, Demand, Request, Score, Usage

__all__ = ["Warming"]


class Warming:
    """Reads entries out of decision records.

    Args:
        ladder: Version of the ladder that the entries are for.
        keeping: Which answers are kept.
        now: The time, UTC, ISO 8601: what is past `expires_at` then is left out.
        expires_at: Says when an answer stored at a time is no longer served; None: never.

    Attributes:
        left_out: Why records gave no entry, and how many of each.
    """

    def __init__(self, *, ladder: str, keeping: Keeping, now: str, expires_at: Any) -> None:
        self._ladder = ladder
        self._keeping = keeping
        self._now = now
        self._expires_at = expires_at
        self.left_out: Counter[str] = Counter()

    def entries(self, records: Iterable[Mapping[str, Any]]) -> Iterator[CacheEntry]:
        """Yield an entry for each record that holds an answer which may be served."""
        for record in records:
            found = self._entry(record)
            if isinstance(found, str):
                self.left_out[found] += 1
            else:
                yield found

    def _entry(self, record: Mapping[str, Any]) -> CacheEntry | str:
        if record.get("outcome") != "answered" or record.get("cache") is not None:
            return "no answer of its own"
        if record["ladder"].get("version") != self._ladder:
            return "another version of the ladder"
        if "messages" not in record:
            return "logged without text (`log: {text: true}` keeps it)"
        made = [a for a in record["attempts"] if a["verdict"] == "accepted"]
        if not made or made[0].get("text") is None:
            return "no text in the answer"
        attempt, digest, tenant = made[0], record["request"]["digest"], record.get("tenant")
        request = _request(record)
        if request is None:
            return "not a request that can be sent"
        why = why_not_kept(_ending(attempt), request, Demand(), self._keeping)
        if why is not None:
            return why.partition(":")[0]
        expires_at = self._expires_at(record["time"])
        if expires_at is not None and expires_at <= self._now:
            return "past its time"
        whole = request_digest(request) == digest
        return CacheEntry(
            key=cache_key(digest, ladder=self._ladder, tenant=tenant),
            scope=cache_scope(request, ladder=self._ladder, tenant=tenant) if whole else "",
            tenant=tenant,
            text=request.prompt if whole and request.messages[-1].role == "user" else None,
            answer=_answer(attempt),
            rung=attempt["rung"],
            model=attempt["model"],
            confidence=attempt.get("confidence"),
            cost_usd=record.get("cost_usd"),
            ladder=self._ladder,
            policy=record.get("policy") or "",
            scorer=record.get("scorer"),
            ask_id=record["id"],
            stored_at=record["time"],
            expires_at=expires_at,
        )


def _request(record: Mapping[str, Any]) -> Request | None:
    about = record["request"]
    try:
        return make_request(
            record["messages"],
            temperature=about.get("temperature"),
            max_tokens=about.get("max_tokens"),
        )
    except CascadeError:
        return None


def _answer(attempt: Mapping[str, Any]) -> Answer:
    return Answer(
        text=attempt["text"],
        model=attempt["model"],
        finish_reason=attempt.get("finish_reason"),
        usage=Usage(
            prompt_tokens=attempt.get("prompt_tokens"),
            completion_tokens=attempt.get("completion_tokens"),
        ),
        tool_calls=attempt.get("tool_calls") or (),
    )


def _ending(attempt: Mapping[str, Any]) -> Ending:
    """Return what an ask came to, as far as it matters to whether it may be kept."""
    tried = Attempt(
        rung=attempt["rung"],
        model=attempt["model"],
        provider=attempt["provider"],
        verdict="accepted",
        reason="",
        answer=_answer(attempt),
        score=Score(confidence=attempt.get("confidence")),
    )
    return Ending(
        attempts=(tried,),
        kept=0,
        degraded=None,
        error=None,
        cost_usd=None,
        saving_usd_estimate=None,
    )
