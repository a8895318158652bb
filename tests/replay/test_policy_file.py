"""Every policy comes back from its file as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade.config import load_policy_file, policy_from_mapping
from cascade.errors import LadderError
from cascade.policies import Agreement, Chain, Fixed, RandomShare, Weighted
from cascade.policy import Policy, Thresholds
from cascade.replay.policy_file import policy_mapping, policy_yaml
from cascade.replay.search import candidates

from .tables import ladder_table

SEVERAL = {
    c.family: c.policy for c in candidates(ladder_table(80), ("small", "middle", "large"))
} | {
    "weighted": Weighted(models=("a", "b"), weights=(0.25, 0.75), seed=4),
    "random_share": RandomShare(weak="a", strong="b", share=1e-05),
    "thresholds": Thresholds(accept={"a": 0.5}),
    "other agreement": Agreement(models=("x", "y", "z")),
    "other chain": Chain(models=("a: b", "yes", "1e5"), accept=(0.1, 0.97)),
    "other fixed": Fixed(model="#null"),
}


@pytest.mark.parametrize("policy", SEVERAL.values(), ids=list(SEVERAL))
def test_a_policy_survives_its_file(policy: Policy, tmp_path: Path) -> None:
    """To the last bit, in YAML and in JSON."""
    path = tmp_path / "p.yaml"
    text = policy_yaml(policy, scorer="trained/x", provenance={"n": 3}, told="a: b\nc")
    path.write_text(text)
    table = load_policy_file(path)
    assert table.to_policy() == policy
    assert table.scorer == "trained/x"
    assert policy_from_mapping(policy_mapping(policy), file="f").to_policy() == policy


def test_a_policy_file_with_mistakes_names_them_all(tmp_path: Path) -> None:
    """With line, key and what is allowed."""
    path = tmp_path / "p.yaml"
    path.write_text("kind: chain\nmodels: small\naccept: [0.5, 1.5]\nextra: 1\n")
    with pytest.raises(LadderError) as caught:
        load_policy_file(path)
    told = str(caught.value)
    assert "p.yaml:2" in told
    assert "1.5 is out of range" in told
    assert "unknown key" in told
