"""The demo, on real models."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from cascade.build import cache_folder
from cascade.demo import run_demo
from cascade.demo.questions import DEMO, QUESTIONS, TUNING
from cascade.demo.training import training_questions
from cascade.local.catalogue import MODELS

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Once is enough: the engine's own tests run on both loops."""
    return "asyncio"


@pytest.mark.local_models
@pytest.mark.timeout(600)
async def test_the_demo_runs_on_real_models_and_prints_its_tables() -> None:
    """Two rungs and four questions: paths, verdicts, and the comparison at the end."""
    out = io.StringIO()
    console = Console(file=out, width=120)
    code = await run_demo(console, cache_folder(), questions=DEMO[::8][:4], models=MODELS[:2])
    told = out.getvalue()
    assert code == 0, told
    assert "1/4" in told
    assert "What each rung did" in told
    assert "always qwen2.5-coder-0.5b (strongest)" in told
    assert "the ladder" in told
    assert told.count("→ ") == 4


async def test_without_models_the_demo_says_what_to_do(tmp_path: Path) -> None:
    """A ladder needs two; a failure is exit code 1."""
    out = io.StringIO()
    code = await run_demo(Console(file=out, width=120), tmp_path, models=())
    assert code == 1
    assert "needs two models" in out.getvalue()


def test_the_demo_asks_other_questions_than_its_thresholds_were_picked_on() -> None:
    """Three disjoint sets."""
    demo, tuning = ({q.prompt for q in part} for part in (DEMO, TUNING))
    training = {q.prompt for q in training_questions()}
    assert not demo & tuning
    assert not training & (demo | tuning)
    assert demo | tuning == {q.prompt for q in QUESTIONS}
