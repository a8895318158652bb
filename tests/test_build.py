"""The composition root: parts from Python named in YAML, providers, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from cascade import (
    Attempt,
    Cascade,
    ConfigError,
    Decision,
    LadderError,
    Request,
    Score,
    State,
)
from cascade.build import cache_folder, check_file
from cascade.types import Answer

LOG = Path(__file__).parent.parent / "configs" / "example-log.jsonl"


class Sure:
    """A scorer of the user's own."""

    version = "sure/1"

    def __init__(self, confidence: float = 1.0) -> None:
        self.confidence = confidence

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        return Score(confidence=self.confidence)


class Last:
    """A policy of the user's own: only the last rung."""

    version = "last/1"
    needs_forecast = False

    def decide(self, state: State) -> Decision:
        if state.attempts:
            return Decision(rung=None, reason="asked the last", accepted=True)
        return Decision(rung=state.open[-1], reason="the last")


class Broken:
    """Neither a scorer nor a policy."""

    def __init__(self) -> None:
        raise RuntimeError("no licence")


def short(request: Request, answer: Answer) -> bool:
    return len(answer.text or "") < 3


def ladder(tmp_path: Path, more: str) -> Path:
    path = tmp_path / "ladder.yaml"
    path.write_text(
        f"""
providers: {{log: {{kind: recorded, path: {LOG}}}}}
ladder:
  - {{model: small-model, provider: log, accept: 0.7}}
  - {{model: large-model, provider: log}}
{more}
"""
    )
    return path


@pytest.mark.anyio
async def test_a_scorer_and_a_gate_of_the_users_own(tmp_path: Path) -> None:
    """Named as package.module:name, with options."""
    path = ladder(
        tmp_path,
        "scorer: {kind: 'tests.test_build:Sure', options: {confidence: 0.75}}\n"
        "gates: [not_empty, {python: 'tests.test_build:short'}, {regex: '^[0-9]+$', name: digits}]",
    )
    async with Cascade.from_yaml(path) as engine:
        result = await engine.ask("How many days has February in a leap year?")
        gated = await engine.ask("What is the capital of France?")
    assert (result.text, result.confidence) == ("28", 0.75)
    assert gated.attempts[0].failed_gates == (
        "short: refused",
        r"digits: no match for '^[0-9]+$'",
    )


@pytest.mark.anyio
async def test_a_policy_of_the_users_own(tmp_path: Path) -> None:
    """It may skip the cheap rung."""
    path = ladder(tmp_path, "policy: {kind: 'tests.test_build:Last'}")
    async with Cascade.from_yaml(path) as engine:
        result = await engine.ask("What is 12 times 12?")
    assert [a.model for a in result.attempts] == ["large-model"]


def test_everything_wrong_with_python_parts_is_told_at_once(tmp_path: Path) -> None:
    """Import, construction and missing methods, each with its key."""
    path = ladder(
        tmp_path,
        "scorer: {kind: 'tests.test_build:Broken'}\n"
        "policy: {kind: 'tests.test_build:Sure'}\n"
        "gates: [{python: 'tests.nowhere:gate'}, {python: 'tests.test_build:absent'}]",
    )
    with pytest.raises(LadderError) as caught:
        check_file(path)
    assert [p.path for p in caught.value.problems] == [
        "scorer.options",
        "policy.kind",
        "gates[0].python",
        "gates[1].python",
    ]
    assert "cannot be made (RuntimeError)" in str(caught.value)
    assert "licence" not in str(caught.value), "it may quote an option, and options may be secret"
    assert "has no method decide" in str(caught.value)


@pytest.mark.anyio
async def test_without_a_scorer_confidence_is_unknown(tmp_path: Path) -> None:
    """`scorer: {kind: none}` leaves it to the gates."""
    path = tmp_path / "ladder.yaml"
    path.write_text(
        f"""
providers: {{log: {{kind: recorded, path: {LOG}}}}}
ladder:
  - {{model: small-model, provider: log, unknown: accept}}
  - {{model: large-model, provider: log}}
scorer: {{kind: none}}
"""
    )
    async with Cascade.from_yaml(path) as engine:
        result = await engine.ask("What is 12 times 12?")
    assert (result.text, result.confidence) == ("144", None)


@pytest.mark.anyio
async def test_hosted_providers_are_made_with_their_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys come from the environment and are never shown; a user's own httpx client is used."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    path = tmp_path / "ladder.yaml"
    path.write_text(
        """
providers:
  openai: {kind: openai, api_key: "${OPENAI_API_KEY}"}
  claude: {kind: anthropic, api_key: k2, version: 2023-06-01}
  unused: {kind: openai, base_url: "http://127.0.0.1:1/v1"}
ladder:
  - {model: gpt-4o-mini, provider: openai, accept: 0.9}
  - {model: claude-3-haiku-20240307, provider: claude, max_tokens: 100}
"""
    )
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        text = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
        if request.url.host == "api.anthropic.com":
            text = {"content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn"}
        return httpx.Response(200, json=text)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with http, Cascade.from_yaml(path, http=http) as engine:
        assert "sk-secret" not in repr(engine._clients)
        assert set(engine._clients) == {"openai", "claude"}, "only what a rung uses"
        assert engine.ladder.rungs[0].price is not None, "from the catalogue"
        result = await engine.ask("Hello?")
    assert result.text == "hello"
    assert sent[0].headers["authorization"] == "Bearer sk-secret"
    assert sent[1].headers["anthropic-version"] == "2023-06-01"


def test_check_tells_each_rung(tmp_path: Path) -> None:
    """Its threshold, and whether its price is known."""
    assert check_file(ladder(tmp_path, "")) == [
        "small-model (accept ≥ 0.7) (price unknown)",
        "large-model (price unknown)",
    ]


def test_an_unset_variable_is_refused_unless_allowed(tmp_path: Path) -> None:
    """`--allow-unset` is for checking a file where its secrets are not."""
    path = tmp_path / "ladder.yaml"
    path.write_text(
        'providers: {o: {kind: openai, api_key: "${NOT_SET_HERE}"}}\n'
        "ladder: [{model: gpt-4o, provider: o}]\n"
    )
    with pytest.raises(LadderError, match="NOT_SET_HERE"):
        check_file(path)
    assert check_file(path, allow_unset=True) == ["gpt-4o"]
    with pytest.raises(ConfigError):
        Cascade.from_yaml(path)


def test_the_cache_folder_follows_the_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    """$XDG_CACHE_HOME, else ~/.cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/cascade")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "cascade"
