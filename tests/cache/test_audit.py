"""How often near hits are false: counted, tested, and answered by a higher threshold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from cascade.cache.audit import Audit, is_beyond
from cascade.errors import ConfigError


@given(
    n=st.integers(1, 400),
    share=st.floats(0, 1),
    promised=st.sampled_from([0.001, 0.01, 0.05, 0.2]),
)
def test_the_test_is_that_of_clopper_and_pearson(n: int, share: float, promised: float) -> None:
    """Against an independent implementation."""
    false = round(share * n)
    p_value = binomtest(false, n, promised, alternative="greater").pvalue
    if abs(p_value - 0.05) > 1e-9:
        assert is_beyond(false, n, promised) == (p_value < 0.05)


def test_the_threshold_rises_above_the_surest_false_hit() -> None:
    """And counting begins anew, as what was counted was at another threshold."""
    audit = Audit(0.01)
    assert all(audit.note(0.99, True) is None for _ in range(20))
    assert audit.note(0.97, False) is None
    threshold = audit.note(0.995, False)
    assert threshold is not None
    assert threshold > 0.995
    assert (audit.n, audit.false, audit.total, audit.total_false) == (0, 0, 22, 2)


def test_a_rate_that_keeps_the_promise_moves_nothing() -> None:
    """One false hit in a hundred is what was promised."""
    audit = Audit(0.05)
    assert [audit.note(0.9, i % 25 != 0) for i in range(1, 200)] == [None] * 199


@pytest.mark.parametrize("promised", [0.0, 1.0, -0.1])
def test_a_promise_that_is_no_rate_is_refused(promised: float) -> None:
    """With what is allowed."""
    with pytest.raises(ConfigError, match="false_hits"):
        Audit(promised)
