"""A provider's prompt cache against a shorter prompt: what is cheaper is done, and said."""

from __future__ import annotations

from cascade.compress import CachedPrefix, Dedupe, Extract, Minify, Pipeline, Stage
from cascade.compress.prefix import KEPT_S, PrefixMemory
from cascade.pricing import Price
from cascade.testing import FakeClock
from cascade.tokens import TokenCounter
from cascade.types import Compressed, Request

from .prompts import chat, content

COUNTER = TokenCounter()
THINGS = ("bench", "lantern", "staircase")
MANUAL = "\n\n".join(
    f"Rule {i}: each {THINGS[i % 3]} is painted blue in spring." for i in range(400)
)


def asked(i: int) -> Request:
    """A long manual that never changes, then a question that does."""
    notes = "  padded    notes  \n\n\n\n" * 40
    return chat(
        ("user", MANUAL), ("user", f"{i} {notes}"), ("user", f"When is a {THINGS[i % 3]} painted?")
    )


def send(price: Price | None, *stages: Stage, times: int = 3) -> Compressed:
    """Compress several prompts with the same beginning; return the last."""
    clock = FakeClock()
    cache = CachedPrefix("m", price, COUNTER, clock.monotonic)
    pipeline = Pipeline(stages, COUNTER)
    for i in range(times):
        request = asked(i)
        done = cache.shorten(
            lambda keep, request=request: pipeline.compress(request, keep_prefix=keep),
            request,  # type: ignore[misc]
        )
    return done


CHEAP_CACHE = Price(input=10.0, output=30.0, cached_input=1.0)


def test_a_known_beginning_is_kept_where_cached_input_is_cheap() -> None:
    """The manual stays byte for byte, what follows it is shortened, and the note says why."""
    done = send(CHEAP_CACHE, Minify(), Extract(2_000, when_over="closest"))
    assert content(done.request, 0) == MANUAL
    assert len(content(done.request, 1)) < len(asked(2).messages[1].content or "")
    assert "kept its first" in done.compression.note
    assert "$1 instead of $10 a million" in done.compression.note


def test_a_shorter_prompt_wins_where_the_discount_is_small() -> None:
    """At nearly the full price for cached input, fewer tokens are cheaper."""
    price = Price(input=10.0, output=30.0, cached_input=9.0)
    done = send(price, Minify(), Extract(2_000, when_over="closest"))
    assert len(content(done.request, 0)) < len(MANUAL) * 0.8
    assert "cheaper than to keep" in done.compression.note


def test_without_a_price_for_cached_input_nothing_is_weighed() -> None:
    """The prompt is simply shortened."""
    done = send(Price(input=10.0, output=30.0), Minify())
    assert "kept its first" not in done.compression.note
    assert done.compression.tokens_after is not None


def test_the_first_prompt_has_no_known_beginning() -> None:
    """Nothing can be in the cache before it was sent."""
    done = send(CHEAP_CACHE, Minify(), Extract(2_000, when_over="closest"), times=1)
    assert len(content(done.request, 0)) < len(MANUAL) * 0.8


def test_stages_that_do_not_depend_on_the_question_keep_beginnings_alike() -> None:
    """Minified and deduplicated, two prompts with one beginning still share it."""
    pipeline = Pipeline([Minify(), Dedupe()], COUNTER)
    first, second = (pipeline.compress(asked(i)).request for i in (1, 2))
    assert content(first, 0) == content(second, 0)


def test_a_beginning_is_forgotten_after_some_minutes() -> None:
    """As providers do."""
    clock = FakeClock()
    memory = PrefixMemory(clock.monotonic)
    assert memory.common("m", asked(1)) == 0
    assert memory.common("m", asked(2)) >= len(MANUAL)
    assert memory.common("other", asked(2)) == 0
    clock.seconds += KEPT_S + 1
    assert memory.common("m", asked(3)) == 0
