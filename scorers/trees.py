"""Check LightGBM's text models before LightGBM reads them.

Its own parser trusts what it reads: a child that points outside the tree, or back up it, would be
followed on every prediction. Only plain numerical trees of the shape that `boost_head` makes pass.
"""

from __future__ import annotations

import math
import re

__all__ = ["MAX_TREES", "check_trees"]

MAX_TREES = 2_000
MAX_LEAVES = 256
_HEAD = {
    "version": re.compile(r"v[34]"),
    "num_class": re.compile(r"1"),
    "num_tree_per_iteration": re.compile(r"1"),
    "label_index": re.compile(r"0"),
    "max_feature_idx": re.compile(r"\d{1,5}"),
    "objective": re.compile(r"(?:cross_entropy|regression)"),
    "feature_names": re.compile(r"Column_\d+(?: Column_\d+)*"),
    "feature_infos": re.compile(r"[^\n]*"),
    "tree_sizes": re.compile(r"\d{1,9}(?: \d{1,9})*"),
}
_NODES = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
_INNER = ("internal_value", "internal_weight", "internal_count")
_FIELDS = {"num_leaves", "num_cat", "is_linear", "shrinkage", *_NODES, *_LEAVES, *_INNER}
_WHOLE = re.compile(r"-?\d{1,9}")


def check_trees(text: str) -> int:
    """Check one model and return how many features it reads.

    Raises:
        ValueError: It is no model, or not one of plain numerical trees; says what is wrong.
    """
    head, mark, rest = text.partition("\nTree=0\n")
    if not mark:
        raise ValueError("no tree in it")
    body, end, _ = ("Tree=0\n" + rest).partition("end of trees\n")
    if not end:
        raise ValueError("it is cut off")
    fields = _head(head)
    features = int(fields["max_feature_idx"]) + 1
    if len(fields["feature_names"].split(" ")) != features:
        raise ValueError("feature_names do not match max_feature_idx")
    sizes = [int(s) for s in fields["tree_sizes"].split(" ")]
    if len(sizes) > MAX_TREES:
        raise ValueError(f"{len(sizes)} trees; at most {MAX_TREES}")
    # LightGBM jumps by these sizes, so they must lead from tree to tree.
    raw = body.encode()
    at = 0
    for number, size in enumerate(sizes):
        block = raw[at : at + size]
        if len(block) != size or not block.startswith(f"Tree={number}\n".encode()):
            raise ValueError(f"tree {number}: tree_sizes do not match")
        _check_tree(block.decode(), number, features)
        at += size
    if raw[at:].strip():
        raise ValueError("there is more than tree_sizes says")
    return features


def _head(head: str) -> dict[str, str]:
    lines = head.strip("\n").split("\n")
    if lines[0] != "tree":
        raise ValueError("it does not begin as LightGBM's models do")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition("=")
        allowed = _HEAD.get(name)
        if allowed is None or name in fields or not allowed.fullmatch(value):
            raise ValueError(f"unexpected header {line[:40]!r}")
        fields[name] = value
    missing = [name for name in _HEAD if name not in fields]
    if missing:
        raise ValueError(f"header without {', '.join(missing)}")
    return fields


def _check_tree(block: str, number: int, features: int) -> None:
    fields: dict[str, list[str]] = {}
    for line in block.strip("\n").split("\n")[1:]:
        name, mark, value = line.partition("=")
        if name not in _FIELDS or not mark or name in fields:
            raise ValueError(f"tree {number}: unexpected {name[:40]!r}")
        fields[name] = value.split(" ") if value else []
    leaves = _wholes(fields, "num_leaves", 1, number)[0]
    if _wholes(fields, "num_cat", 1, number) != [0] or fields.get("is_linear") != ["0"]:
        raise ValueError(f"tree {number}: only numerical splits and constant leaves are read")
    _numbers(fields, "shrinkage", 1, number)
    if not 1 <= leaves <= MAX_LEAVES:
        raise ValueError(f"tree {number}: {leaves} leaves; 1 to {MAX_LEAVES} are read")
    nodes = leaves - 1
    if nodes == 0:
        _numbers(fields, "leaf_value", 1, number)
        return
    for name in _LEAVES:
        _numbers(fields, name, leaves, number)
    for name in ("split_gain", *_INNER):
        _numbers(fields, name, nodes, number)
    _numbers(
        fields, "threshold", nodes, number, finite=False
    )  # inf: only what is missing goes right
    if not all(0 <= f < features for f in _wholes(fields, "split_feature", nodes, number)):
        raise ValueError(f"tree {number}: a feature that is not there")
    # Bit 0 would be a categorical split, whose bit sets are not here.
    if not all(0 <= d < 16 and not d & 1 for d in _wholes(fields, "decision_type", nodes, number)):
        raise ValueError(f"tree {number}: a kind of split that is not read")
    seen: list[int] = []
    for name in ("left_child", "right_child"):
        for node, child in enumerate(_wholes(fields, name, nodes, number)):
            # A node's number is above its parent's, so a walk always ends.
            if not (node < child < nodes or -leaves <= child < 0):
                raise ValueError(f"tree {number}: a child that is not below its node")
            seen.append(child)
    if len(set(seen)) != len(seen):
        raise ValueError(f"tree {number}: a node with two parents")


def _wholes(fields: dict[str, list[str]], name: str, count: int, number: int) -> list[int]:
    values = fields.get(name, [])
    if len(values) != count or not all(_WHOLE.fullmatch(v) for v in values):
        raise ValueError(f"tree {number}: {name} is not {count} whole numbers")
    return [int(v) for v in values]


def _numbers(
    fields: dict[str, list[str]], name: str, count: int, number: int, *, finite: bool = True
) -> None:
    values = fields.get(name, [])
    wrong = (lambda v: not math.isfinite(v)) if finite else math.isnan
    try:
        sound = len(values) == count and not any(wrong(float(v)) for v in values)
    except ValueError:
        sound = False
    if not sound:
        raise ValueError(f"tree {number}: {name} is not {count} numbers")
