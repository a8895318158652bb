"""How long a provider wants no further request, by its headers."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.wire.rate_limits import ANTHROPIC_LIMITS, EVERY_LIMIT, MAX_PAUSE_S, pause_s
from cascade.wire.status import error_from_status

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
HEADERS = sorted({name for pair in EVERY_LIMIT for name in pair} | {"date", "retry-after"})


def now() -> datetime:
    return NOW


def never() -> datetime:
    raise AssertionError("the clock was asked")


def openai(remaining: str, reset: str) -> dict[str, str]:
    return {"x-ratelimit-remaining-requests": remaining, "x-ratelimit-reset-requests": reset}


def anthropic(remaining: str, reset: str) -> dict[str, str]:
    return {
        "anthropic-ratelimit-input-tokens-remaining": remaining,
        "anthropic-ratelimit-input-tokens-reset": reset,
    }


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("250ms", 0.25),
        ("2m59.56s", 179.56),
        ("1m30s5ms", 90.005),
        ("0s", 0.0),
        ("12", 12.0),
        ("7.66", 7.66),
        (str(int(NOW.timestamp()) + 20), 20.0),
        (str(int(NOW.timestamp()) - 20), 0.0),
        ("1h2m3s", MAX_PAUSE_S),
        ("24h0m0s", MAX_PAUSE_S),
        ("1d", MAX_PAUSE_S),
        ("999999999", MAX_PAUSE_S),
        ("9" * 400 + "h", MAX_PAUSE_S),
    ],
)
def test_reads_the_durations_of_openai(reset: str, expected: float) -> None:
    """Go's durations, and what compatible servers write: plain seconds and seconds since 1970."""
    assert pause_s(openai("0", reset), now) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("2026-01-31T12:00:30Z", 30.0),
        ("2026-01-31T07:00:30-05:00", 30.0),
        ("2026-01-31T12:00:30.5+00:00", 30.5),
        ("2026-01-31T12:00:30", 30.0),
        ("2026-01-31T11:00:00Z", 0.0),
        ("2999-01-01T00:00:00Z", MAX_PAUSE_S),
    ],
)
def test_reads_the_dates_of_anthropic(reset: str, expected: float) -> None:
    """RFC 3339, whatever its time zone."""
    assert pause_s(anthropic("0", reset), now) == expected


def test_the_servers_own_date_is_what_its_dates_are_measured_by() -> None:
    """A clock that is an hour off makes no pause longer, and ends none."""
    headers = {**anthropic("0", "2026-01-31T13:00:30Z"), "date": "Sat, 31 Jan 2026 13:00:00 GMT"}
    assert pause_s(headers, never) == 30.0


def test_a_limit_with_something_left_asks_for_no_pause() -> None:
    """However long its reset takes; and the clock is not asked."""
    assert pause_s(openai("1", "6m0s") | anthropic("1000", "2999-01-01T00:00:00Z"), never) is None


def test_of_several_used_up_the_longest_holds() -> None:
    """One request needs all of them."""
    tokens = {"x-ratelimit-remaining-tokens": "-3", "x-ratelimit-reset-tokens": "2s"}
    assert pause_s(openai("0", "9s") | tokens, now) == 9.0


def test_looks_only_at_the_limits_asked_for() -> None:
    """A client knows whose headers it reads."""
    assert pause_s(openai("0", "9s"), now, ANTHROPIC_LIMITS) is None


@pytest.mark.parametrize("remaining", ["", "none", "nan", "0x0"])
def test_a_remainder_that_is_no_number_says_nothing(remaining: str) -> None:
    """It is not taken for zero."""
    assert pause_s(openai(remaining, "9s"), now) is None


@pytest.mark.parametrize("reset", ["", "soon", "-1s", "-5", "inf", "nan", "s", "1s1m", "1_0", "٣s"])
def test_a_reset_that_is_no_time_says_nothing(reset: str) -> None:
    """Garbage is not taken for a pause."""
    assert pause_s(openai("0", reset), now) is None


_VALUES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["0", "0.0", "1e999", "6m0s", "2026-01-31T12:00:30Z", "0001-01-01T00:00:00Z"]),
    st.datetimes().map(datetime.isoformat),
    st.datetimes(timezones=st.just(UTC)).map(format_datetime),
    st.integers().map(str),
    st.floats().map(str),
)


@given(st.dictionaries(st.sampled_from(HEADERS), _VALUES), st.sampled_from([429, 503]))
def test_whatever_the_headers_say_a_wait_is_bounded(headers: dict[str, str], status: int) -> None:
    """It is absent or from zero to an hour, and nothing is raised."""
    error = error_from_status(status, headers, b"", provider="p", model="m", now=NOW)
    for seconds in (pause_s(headers, now), error.retry_after_s):
        assert seconds is None or 0.0 <= seconds <= MAX_PAUSE_S
