"""Measures of token log-probabilities: the same of a response's alternatives as of plain lists."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cascade.wire.token_logprobs import ChoiceLogprobs, flat_logprobs
from scorers.features.logprob import logprob_features

_LOGPROB = st.floats(-60.0, 0.0) | st.sampled_from([0.0, -0.0, 1e-5, -9999.0, 0.5])
_TOP = st.lists(_LOGPROB, max_size=4) | st.lists(_LOGPROB, min_size=3, max_size=3).map(
    lambda row: sorted(row, reverse=True)
)


@given(
    st.lists(st.tuples(st.floats(-60.0, 0.0), _TOP), min_size=1, max_size=12)
    | st.lists(
        st.tuples(st.floats(-60.0, 0.0), st.lists(_LOGPROB, min_size=3, max_size=3)), min_size=1
    ),
    st.booleans(),
)
def test_alternatives_of_a_response_are_measured_as_lists_are(
    tokens: list[tuple[float, list[float]]], looked_at: bool
) -> None:
    """Whether they have been put in order before or not, and whatever the provider wrote."""
    content = [
        {"token": "t", "logprob": chosen, "top_logprobs": [{"logprob": x} for x in top]}
        for chosen, top in tokens
    ]
    given_ = msgspec.convert({"content": content}, ChoiceLogprobs).content
    assert given_ is not None
    found, other = flat_logprobs(given_), flat_logprobs(given_)
    assert found is not None
    assert other is not None
    if looked_at and found.top:
        found.top[0]
    quick = logprob_features(found.logprobs, found.top)
    rows = None if other.top is None else [list(row) for row in other.top]
    plain = logprob_features(other.logprobs, rows)
    assert str(quick).replace("-0.0", "0.0") == str(plain).replace("-0.0", "0.0")
