"""The shared logs as tables for benchmarks: a scorer is trained once a log and kept under out/."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cascade.cli.prices import read_prices
from cascade.cli.tables import load_scorer, read_log
from cascade.replay.table import Table
from cascade.traffic_log import TrafficLog

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
OUT = ROOT / "out"

FIRM = ("cascade9_mmlu", "cascade9_truthfulqa", "confidence_sciq", "llmrouter_scores", "mmlupro")
SMALL = ("samples_date", "zeroeval_gsm8k")
LOGS = (*FIRM, *SMALL, "local_headlines")
SCORES_ONLY = ("llmrouter_scores",)
PAID_P_TRUE = ("cascade9_truthfulqa",)
"""Logs whose `cost_usd` includes the second call that gave `p_true`: it is used as it was paid for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLog:
    """A log's two splits: train with out-of-fold forecasts, test with fresh ones."""

    name: str
    train: Table
    test: Table


def read_arguments(
    arguments: Sequence[str],
    doc: str | None,
    usual: Sequence[str] = (),
    allowed: Sequence[str] | None = None,
) -> tuple[bool, list[str]]:
    """Return whether a benchmark is to run in miniature, and the logs or files it is to run on.

    Args:
        arguments: Of the command line; ``--help`` prints `doc`, and anything unknown is refused.
        doc: The script's docstring.
        usual: Names that are returned when none is given; empty where there are no names.
        allowed: Names that may be given; None: the usual ones.
    """
    allowed = usual if allowed is None else allowed
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="in miniature, on made-up data")
    if allowed:
        parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(allowed))
    given = parser.parse_args(arguments)
    names = given.names if allowed else []
    unknown = sorted(set(names) - set(allowed))
    if unknown:
        parser.error(f"{', '.join(unknown)}: not known; allowed: {', '.join(allowed)}")
    return given.smoke, names or list(usual)


def every_log() -> list[str]:
    """Return the names of the shared logs of traffic."""
    names = (path.name.removesuffix(".jsonl.gz") for path in DATA.glob("*.jsonl.gz"))
    return sorted(name for name in names if not name.startswith(("duplicates_", "intents_")))


def absent() -> str | None:
    """Return why the shared logs cannot be used, or None."""
    return None if DATA.is_dir() else f"skipped: {DATA} is not there"


def shared_log(name: str) -> SharedLog:
    """Return a shared log, its scorer trained if need be."""
    log, prices = _priced(DATA / f"{name}.jsonl.gz", name), DATA / "prices.json"
    folder = OUT / "scorers" / name
    if not (folder / "manifest.json").exists():
        command = [sys.executable, "-m", "cascade", "train", str(log), "-o", str(folder)]
        command += ["--p-true"] if name in PAID_P_TRUE else []
        done = subprocess.run(
            [*command, "--prices", str(prices)], cwd=ROOT, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr.decode()[-500:]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer = load_scorer(folder, None)
        tables = [
            read_log([log], scorer, models=None, splits=[split], prices=read_prices(prices)).table
            for split in ("train", "test")
        ]
    tables = [t.take(np.flatnonzero(t.complete)) for t in tables]
    return SharedLog(name=name, train=tables[0], test=tables[1])


def _priced(log: Path, name: str) -> Path:
    """Return a log whose answers can be priced.

    A log of scores only has no output tokens: there the input alone is priced, which keeps the
    order of the models.
    """
    if name not in SCORES_ONLY:
        return log
    copy = OUT / "logs" / f"{name}.jsonl"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        for row in TrafficLog(paths=[log]):
            for response in row.responses:
                response.completion_tokens = response.completion_tokens or 0
            lines.append(msgspec.json.encode(row))
        copy.write_bytes(b"\n".join(lines) + b"\n")
    return copy


def write_result(name: str, result: dict[str, Any]) -> None:
    """Write one JSON beside the others, with machine and commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    about = {
        "commit": commit,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "system": platform.platform(),
    }
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(about | result, indent=1) + "\n")
    print(f"wrote {path.relative_to(ROOT)}")
