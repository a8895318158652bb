"""Scoring with its compiled loops, and without."""

from __future__ import annotations

import pytest

from scorers import native


def without_native(patch: pytest.MonkeyPatch) -> None:
    """Have scoring do without compiled code, as where it was not built."""
    for name in native.__all__:
        patch.setattr(native, name, None)


@pytest.fixture(params=["compiled", "not compiled"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with compiled loops and without them."""
    if request.param == "not compiled":
        without_native(monkeypatch)
    elif native.BlendRow is None:
        pytest.skip("the compiled loops were not built: no C compiler where this was installed")
