"""The plug-in for LLMLingua that the page on compression shows, against a double of that library."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cascade.compress.plugins as plugins
from cascade.compress import Pipeline, load_plugin
from cascade.tokens import TokenCounter

from .prompts import chat, content

PAGE = Path(__file__).parents[2] / "docs" / "compression.md"
COUNTER = TokenCounter()


class PromptCompressor:
    """Takes what llmlingua 0.2.2 takes, by the same names, and keeps every so manieth word.

    The arguments that the plug-in might pass are named; one of another name is a `TypeError`, as there.
    """

    def __init__(
        self,
        model_name: str = "NousResearch/Llama-2-7b-hf",
        device_map: str = "cuda",
        model_config: dict[str, Any] | None = None,
        open_api_config: dict[str, Any] | None = None,
        use_llmlingua2: bool = False,
        llmlingua2_config: dict[str, Any] | None = None,
    ) -> None:
        assert device_map == "cpu", "the real one wants a graphics card unless it is told otherwise"
        assert use_llmlingua2
        self.model_name = model_name

    def compress_prompt(
        self,
        context: list[str] | str,
        instruction: str = "",
        question: str = "",
        rate: float = 0.5,
        target_token: float = -1,
        *,
        force_tokens: tuple[str, ...] = (),
        force_reserve_digit: bool = False,
        drop_consecutive: bool = False,
    ) -> dict[str, Any]:
        """Return the dictionary that the real one returns."""
        words = " ".join([context] if isinstance(context, str) else context).split()
        if target_token >= 0:
            rate = min(target_token / max(len(words), 1), 1.0)
        step = 1 / rate
        kept = [words[int(i * step)] for i in range(int(len(words) * rate))]
        return {
            "compressed_prompt": " ".join(kept),
            "compressed_prompt_list": [" ".join(kept)],
            "origin_tokens": len(words),
            "compressed_tokens": len(kept),
            "ratio": f"{len(words) / max(len(kept), 1):.1f}x",
            "rate": f"{100 * rate:.1f}%",
            "saving": "Saving $0.0 in GPT-4.",
        }


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """llmlingua is installed, and a package with the class of the page offers it."""
    double = ModuleType("llmlingua")
    double.PromptCompressor = PromptCompressor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llmlingua", double)
    shown = re.search(r"```\n(class LLMLingua:.*?)```", PAGE.read_text(), re.DOTALL)
    assert shown is not None
    package = ModuleType("my_package")
    exec(shown.group(1), vars(package))
    monkeypatch.setitem(sys.modules, "my_package", package)
    point = EntryPoint("llmlingua", "my_package:LLMLingua", plugins.COMPRESSOR_GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])


PROSE = "The bench by the river was painted blue again in spring. " * 30


@pytest.mark.usefixtures("offered")
def test_the_class_on_the_page_shortens_what_is_not_protected() -> None:
    """What lies between protected parts goes through it; these and the question stay, byte for byte."""
    stage = load_plugin("llmlingua", {"model": "some/model", "rate": 0.4})
    request = chat(("user", f"{PROSE}\n\n```\nx  =  1\n```\n\n{PROSE}"), ("user", "Why  blue?"))
    done = Pipeline([stage], COUNTER).compress(request, model="gpt-4o")
    text = content(done.request)
    assert "```\nx  =  1\n```" in text
    assert content(done.request, 1) == "Why  blue?"
    assert done.compression.tokens_before is not None
    assert done.compression.tokens_after is not None
    assert 0.3 < done.compression.tokens_after / done.compression.tokens_before < 0.5
    assert done.compression.note == ""


@pytest.mark.usefixtures("offered")
def test_a_budget_of_the_callers_is_its_target() -> None:
    """`target_token` of each piece is its share of the budget."""
    stage = load_plugin("llmlingua", {"model": "some/model"})
    request = chat(("user", PROSE), ("user", "Why blue?"))
    before = COUNTER.count(PROSE, "gpt-4o")
    done = Pipeline([stage], COUNTER).compress(request, model="gpt-4o", budget=before // 4)
    assert done.compression.tokens_after is not None
    assert 0.15 < done.compression.tokens_after / before < 0.3


@pytest.mark.usefixtures("offered")
def test_other_options_are_another_stage() -> None:
    """Evidence that one rate does no harm says nothing about another."""
    versions = {
        load_plugin("llmlingua", {"model": "some/model", "rate": rate}).version
        for rate in (0.5, 0.9)
    }
    assert len(versions) == 2
