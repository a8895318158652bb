"""`cascade tune --compress`: says where a lossy stage is harmless, and writes it down for the engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.markup import escape

from cascade.clock import SystemClock
from cascade.compress.evidence import KIND
from cascade.errors import ConfigError

from .fitting import print_table, stdout_console

if TYPE_CHECKING:
    from cascade.replay.compression import CaseVerdict
    from cascade.replay.probe_cases import Probed

__all__ = ["QUALITY", "check_alone", "tune_compression"]

QUALITY = 0.95
"""Share of the plain quality to keep where `--quality` does not say."""
CONFIDENCE = 0.95


def check_alone(given: Mapping[str, object]) -> None:
    """Refuse options of `cascade tune` that mean nothing with `--compress`.

    Raises:
        ConfigError: One was given; names it.
    """
    for name, value in given.items():
        if value is not None:
            raise ConfigError(
                f"{name}: cannot be used with --compress; allowed: --quality, --confidence"
            )


def tune_compression(
    probes: Sequence[Path],
    output: Path,
    *,
    quality: float | None,
    confidence: float | None,
    json: bool,
) -> None:
    """Test every variant on the logs of `cascade probe` and write the evidence file.

    Raises:
        ConfigError: A number is out of its range, or no pair of answers has scores.
        LogError: A log is none of a probe.
    """
    from cascade.replay.compression import decide
    from cascade.replay.probe_cases import read_probes

    ratio = QUALITY if quality is None else quality
    sure = CONFIDENCE if confidence is None else confidence
    for name, value in (("--quality", ratio), ("--confidence", sure)):
        top = value < 1.0 if name == "--confidence" else value <= 1.0
        if not (value > 0.0 and top):
            raise ConfigError(f"{name} {value:g} is not between 0 and 1")
    probed = read_probes(probes)
    if not probed.cases:
        raise ConfigError(
            f"none of the {probed.unscored:,} pairs of answers has scores; `cascade log label` joins them"
        )
    verdicts = decide(probed.cases, ratio=ratio, confidence=sure)
    told = _words(verdicts, probed, ratio, sure)
    _write(output, verdicts, probed, told, probes, ratio, sure)
    if json:
        print(msgspec.json.encode(_as_json(verdicts, probed, told, ratio, sure)).decode())
        return
    _print(verdicts, probed, told, output)


def _words(
    verdicts: Sequence[CaseVerdict], probed: Probed, ratio: float, confidence: float
) -> list[str]:
    """Return what is promised, what is not and what would help, line by line."""
    allowed = [v for v in verdicts if v.allowed]
    tested = (
        f"{len(verdicts)} {'test' if len(verdicts) == 1 else 'tests'} on {probed.rows:,} prompts"
    )
    if allowed:
        lines = [
            f"with {confidence:.0%} confidence, of the prompts that it changes, compression keeps at least "
            f"{ratio:.0%} of the plain quality wherever it is allowed here, everywhere at once ({tested}, "
            "Holm's correction)"
        ]
    else:
        lines = [
            f"nothing is allowed: no variant was shown to keep {ratio:.0%} of the plain quality with "
            f"{confidence:.0%} confidence ({tested})"
        ]
    lines += [_why_not(v) for v in verdicts if not v.allowed]
    lines += list(probed.scored)
    if probed.unscored:
        lines.append(
            f"{probed.unscored:,} pairs without scores were passed over; if a judge left out the hard "
            "ones, what is promised does not speak of them"
        )
    return lines


def _why_not(verdict: CaseVerdict) -> str:
    case = verdict.case
    place = f"{case.variant} for {case.model}, kind of task {case.cluster}"
    if verdict.harmless:
        if not case.saved > 0:
            return f"{place}: harmless, but it saves no tokens"
        return f"{place}: harmless, but another variant there saves more"
    kept = "plain is never right" if math.isnan(verdict.kept) else f"kept {verdict.kept:.1%}"
    seen = f"{place}: not shown harmless on {len(case.plain):,} pairs ({kept})"
    if verdict.more_rows is None:
        return f"{seen}; on rows like these no number of them would do"
    return f"{seen}; about {verdict.more_rows:,} more would do"


def _write(
    output: Path,
    verdicts: Sequence[CaseVerdict],
    probed: Probed,
    told: Sequence[str],
    probes: Sequence[Path],
    ratio: float,
    confidence: float,
) -> None:
    from cascade.replay.policy_file import commented_yaml, write_whole

    beside = output.with_name(f"{output.name.removesuffix(output.suffix)}.clusters.json")
    evidence = {
        "kind": KIND,
        "version": 1,
        "quality": ratio,
        "confidence": confidence,
        "clusters": beside.name,
        "clusters_version": probed.clusters.version,
        "compress": _by_stage(verdicts, probed),
        "provenance": {
            "tuned": SystemClock().now_iso(),
            "probes": [path.name for path in probes],
            "prompts": probed.rows,
            "tests": len(verdicts),
            "scored": list(probed.scored),
        },
    }
    write_whole(beside, probed.clusters.to_json().decode())
    write_whole(output, commented_yaml(evidence, "\n".join(told)))


def _by_stage(verdicts: Sequence[CaseVerdict], probed: Probed) -> dict[str, list[dict[str, Any]]]:
    """Return the verdicts under each lossy stage that they are about."""
    found: dict[str, list[dict[str, Any]]] = {}
    for verdict in verdicts:
        stages = probed.stages[verdict.case.model, verdict.case.variant]
        for name, version in stages:
            entry = {
                "model": verdict.case.model,
                "cluster": verdict.case.cluster,
                "allowed": verdict.allowed,
                "stage_version": version,
                "together": [other for other, _ in stages if other != name],
                **_figures(verdict),
            }
            found.setdefault(name, []).append(entry)
    return found


def _figures(verdict: CaseVerdict) -> dict[str, Any]:
    case = verdict.case
    return {
        "pairs": len(case.plain),
        "plain": float(case.plain.mean()),
        "compressed": float(case.compressed.mean()),
        "tokens_saved": None if math.isnan(case.saved) else case.saved,
        "p": verdict.p,
        "more_rows": verdict.more_rows,
    }


def _as_json(
    verdicts: Sequence[CaseVerdict],
    probed: Probed,
    told: Sequence[str],
    ratio: float,
    confidence: float,
) -> dict[str, Any]:
    return {
        "quality": ratio,
        "confidence": confidence,
        "prompts": probed.rows,
        "unscored": probed.unscored,
        "verdicts": [
            {
                "variant": v.case.variant,
                "stages": [name for name, _ in probed.stages[v.case.model, v.case.variant]],
                "model": v.case.model,
                "cluster": v.case.cluster,
                "harmless": v.harmless,
                "allowed": v.allowed,
                **_figures(v),
            }
            for v in verdicts
        ],
        "told": list(told),
    }


def _print(
    verdicts: Sequence[CaseVerdict], probed: Probed, told: Sequence[str], output: Path
) -> None:
    console = stdout_console()
    words = ("variant", "stages", "model", "kind of task", "")
    figures = ("pairs", "plain", "compressed", "kept", "tokens saved", "p")
    rows = []
    for v in verdicts:
        case = v.case
        rows.append(
            (
                escape(case.variant),
                escape(", ".join(name for name, _ in probed.stages[case.model, case.variant])),
                escape(case.model),
                escape(case.cluster),
                f"{len(case.plain):,}",
                f"{case.plain.mean():.3f}",
                f"{case.compressed.mean():.3f}",
                "-" if math.isnan(v.kept) else f"{v.kept:.1%}",
                "-" if math.isnan(case.saved) else f"{case.saved:.0%}",
                f"{v.p:.2g}",
                "[bold green]allowed[/]" if v.allowed else "harmless" if v.harmless else "off",
            )
        )
    print_table(console, (*words[:-1], *figures, words[-1]), rows, words=words)
    certified = any(v.allowed for v in verdicts)
    for i, line in enumerate(told):
        style = "bold" if certified and i == 0 else "bold yellow" if i == 0 else "default"
        console.print(f"[{style}]{escape(line)}[/]", soft_wrap=True)
    console.print(f"wrote {escape(str(output))}")
