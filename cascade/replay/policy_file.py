"""Policies as YAML and JSON: what `cascade tune` writes and ladders and `cascade replay` read."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..policies import (
    Agreement,
    CascadeRouting,
    Chain,
    Fixed,
    Induction,
    RandomShare,
    Routing,
    Weighted,
)
from ..policy import Policy, Thresholds

__all__ = ["commented_yaml", "policy_mapping", "policy_yaml", "write_whole"]


def policy_mapping(policy: Policy) -> dict[str, Any]:
    """Return a built-in policy as the mapping that stands under `policy` in a ladder file.

    Raises:
        TypeError: It is no built-in policy.
    """
    if isinstance(policy, Thresholds):
        return {"kind": "thresholds", "accept": dict(policy.accept)}
    if isinstance(policy, Chain):
        return {"kind": "chain", "models": list(policy.models), "accept": list(policy.accept)}
    if isinstance(policy, Agreement):
        return {"kind": "agreement", "models": list(policy.models)}
    if isinstance(policy, Fixed):
        return {"kind": "fixed", "model": policy.model}
    if isinstance(policy, Weighted):
        weights = list(policy.weights)
        models = list(policy.models)
        return {"kind": "weighted", "models": models, "weights": weights, "seed": policy.seed}
    if isinstance(policy, RandomShare):
        return {
            "kind": "random_share",
            "weak": policy.weak,
            "strong": policy.strong,
            "share": policy.share,
            "seed": policy.seed,
        }
    if isinstance(policy, (Routing, CascadeRouting, Induction)):
        kind = {Routing: "routing", CascadeRouting: "cascade_routing", Induction: "induction"}
        mapping: dict[str, Any] = {
            "kind": kind[type(policy)],
            "models": list(policy.models),
            "cost_usd": list(policy.cost_usd),
            "tradeoff_usd": policy.tradeoff_usd,
        }
        if isinstance(policy, Induction):
            mapping["continuations"] = [
                {
                    "seen": [m for i, m in enumerate(policy.models) if seen >> i & 1],
                    "next": policy.models[following],
                    "weights": list(weights),
                }
                for (seen, following), weights in sorted(policy.weights.items())
            ]
        return mapping
    raise TypeError(f"{type(policy).__name__} is no built-in policy")


def policy_yaml(
    policy: Policy, *, scorer: str | None, provenance: Mapping[str, Any], told: str
) -> str:
    """Return the text of a policy file.

    Args:
        policy: A built-in policy.
        scorer: Version of the scorer it was tuned with, or None.
        provenance: Where it comes from; plain data.
        told: What it promises, for the comment at the top.
    """
    mapping = policy_mapping(policy)
    if scorer is not None:
        mapping["scorer"] = scorer
    mapping["provenance"] = dict(provenance)
    return commented_yaml(mapping, told)


def commented_yaml(mapping: Mapping[str, Any], told: str) -> str:
    """Return plain data as YAML that reads the same in YAML 1.1 and 1.2, under a comment."""
    head = "".join(f"# {line}\n" for line in told.splitlines())
    body = yaml.dump(dict(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return head + body


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, whatever stops the program.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        # Not a temporary file's 0600: who may read it is for the user's umask to say.
        handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written ({exc.strerror or exc})") from exc


class _Dumper(yaml.SafeDumper):
    """Lists of plain values on one line; numbers in full precision."""


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    # YAML 1.2 takes 1e-05 for a number, PyYAML's own form too only with a point: 1.0e-05.
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    plain = all(not isinstance(item, (dict, list)) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    # Ladder files are read as YAML 1.2, where 1e5 is a number; the dumper knows 1.1 only.
    try:
        float(value)
    except ValueError:
        style = None
    else:
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(float, _float)
_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
