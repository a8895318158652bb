"""Mistakes in how deadlines, repetitions, limits, pools and budgets fit together.

Looks at what the file says, not at defaults: nobody is told off for a number they did not write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .checks import nearest
from .document import Document
from .yaml_source import KeyPath

__all__ = ["check_reliability"]


def check_reliability(document: Document) -> None:
    """Report every such mistake to `document`."""
    deadline_s = _number(document.data.get("deadline_s"))
    for name, provider in _tables(document.data.get("providers")):
        path: KeyPath = ("providers", name)
        _check_times(path, provider, deadline_s, document)
        _check_retry((*path, "retry"), provider.get("retry"), deadline_s, document)
        _check_limits((*path, "limits"), provider.get("limits"), document)
        _check_hedge((*path, "hedge"), provider.get("hedge"), deadline_s, document)
        _check_pool(path, provider, document)
    _check_hedge(("hedge",), document.data.get("hedge"), deadline_s, document)
    _check_budgets(("budgets",), document.data.get("budgets"), document)
    for name, tenant in _tables(document.data.get("tenants")):
        _check_limits(("tenants", name, "limits"), tenant.get("limits"), document)
        _check_budgets(("tenants", name, "budgets"), tenant.get("budgets"), document)


def _check_times(
    path: KeyPath, provider: Mapping[str, Any], deadline_s: float | None, document: Document
) -> None:
    connect_s = _number(provider.get("connect_timeout_s"))
    if deadline_s is not None and connect_s is not None and connect_s > deadline_s:
        message = f"{connect_s:g} is longer than `deadline_s`, {deadline_s:g}"
        document.report((*path, "connect_timeout_s"), message, "at most `deadline_s`")
    total_s = _number(provider.get("timeout_s"))
    for key in ("first_token_timeout_s", "between_tokens_timeout_s"):
        part_s = _number(provider.get(key))
        if total_s is not None and part_s is not None and part_s > total_s:
            message = f"{part_s:g} is longer than `timeout_s`, {total_s:g}"
            document.report((*path, key), message, "at most `timeout_s`")


def _check_retry(path: KeyPath, retry: Any, deadline_s: float | None, document: Document) -> None:
    if not isinstance(retry, Mapping):
        return
    backoff_s, most_s = _number(retry.get("backoff_s")), _number(retry.get("max_backoff_s"))
    longest_s = 8.0 if most_s is None else most_s
    if backoff_s is not None and backoff_s > longest_s:
        message = f"{backoff_s:g} is longer than `max_backoff_s`, {longest_s:g}"
        document.report((*path, "backoff_s"), message, "at most `max_backoff_s`")
    if most_s is not None and deadline_s is not None and most_s > deadline_s:
        message = f"{most_s:g} is longer than `deadline_s`, {deadline_s:g}"
        document.report((*path, "max_backoff_s"), message, "at most `deadline_s`")


def _check_limits(path: KeyPath, limits: Any, document: Document) -> None:
    if not isinstance(limits, Mapping):
        return
    if limits.get("adaptive") is True and limits.get("concurrent") is None:
        document.report(
            (*path, "adaptive"), "has no upper bound to adapt below", "`concurrent` set beside it"
        )


def _check_hedge(path: KeyPath, hedge: Any, deadline_s: float | None, document: Document) -> None:
    after_s = _number(hedge.get("after_s")) if isinstance(hedge, Mapping) else None
    if after_s is not None and deadline_s is not None and after_s >= deadline_s:
        message = f"{after_s:g} is not before `deadline_s`, {deadline_s:g}"
        document.report((*path, "after_s"), message, "less than `deadline_s`")


def _check_pool(path: KeyPath, pool: Mapping[str, Any], document: Document) -> None:
    members = pool.get("of")
    if pool.get("kind") != "pool" or not isinstance(members, list):
        return
    providers = dict(_tables(document.data.get("providers")))
    seen: dict[str, int] = {}
    for i, member in enumerate(members):
        place: KeyPath = (*path, "of", i)
        name = member
        if isinstance(member, Mapping):
            place, name = (*place, "provider"), member.get("provider")
        if pool.get("strategy") == "cheapest" and not _has_price(member):
            message = "has no price, and `strategy: cheapest` compares prices"
            document.report((*path, "of", i), message, "{provider: name, price: {…}}")
        if not isinstance(name, str) or document.is_unresolved(place):
            continue
        shown = document.shown(place, name)
        if name not in providers:
            message = f"{shown} is not under `providers`{nearest(name, providers)}"
            document.report(place, message, ", ".join(providers)[:300])
        elif providers[name].get("kind") == "pool":
            document.report(place, f"{shown} is a pool itself", "a provider that is none")
        first = seen.setdefault(name, i)
        if first != i:
            document.report(place, f"{shown} is already of[{first}]", "each deployment once")


def _check_budgets(path: KeyPath, budgets: Any, document: Document) -> None:
    for i, budget in enumerate(budgets if isinstance(budgets, list) else []):
        if isinstance(budget, Mapping) and not {"usd", "tokens"} & budget.keys():
            document.report((*path, i), "limits nothing", "`usd`, `tokens` or both")


def _has_price(member: Any) -> bool:
    return isinstance(member, Mapping) and member.get("price") is not None


def _tables(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, table in value.items() if isinstance(value, Mapping) else ():
        if isinstance(table, Mapping):
            yield name, table


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None
