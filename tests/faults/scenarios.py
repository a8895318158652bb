"""Every fault alone on the first rung, and all of them mixed on every rung."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .checks import Evidence, violations
from .harness import OPEN_S, TIMEOUT_S, Setting, gather, ladder_file, pool, provider
from .plan import FAULTS, Faulty, Plan
from .upstreams import refused_port

__all__ = ["Finding", "Scenario", "Unfit", "fault_scenarios"]

NO_SUCH_HOST = "nobody.invalid"
"""A name that no resolver knows (RFC 6761)."""


_EXCUSE_S = 0.5
"""Seconds for which the loop itself is late that excuse a healthy rung for an ask not answered."""


class Unfit(Exception):
    """This machine cannot run the scenario; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a scenario has shown.

    Attributes:
        evidence: What happened.
        violations: What should not have.
        note: What else is worth telling, in a few words.
    """

    evidence: Evidence
    violations: list[str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that goes wrong.

    Attributes:
        name: For the table and `--only`.
        run: Makes it happen.
    """

    name: str
    run: Callable[[Setting], Awaitable[Finding]]


def fault_scenarios() -> list[Scenario]:
    """Return a scenario for each fault alone, and the one with all of them."""
    return [*(Scenario(name, _alone(name)) for name in FAULTS), Scenario("mixed", _mixed)]


def _alone(name: str) -> Callable[[Setting], Awaitable[Finding]]:
    async def run(setting: Setting) -> Finding:
        upstream = setting.upstream
        faulty = {} if FAULTS[name].address else {"small": Faulty(share=1.0, faults=(name,))}
        upstream.plan(Plan(faulty=faulty))
        with refused_port() as port:
            bad = {
                "refused": f"http://127.0.0.1:{port}/v1",
                "no-such-host": f"http://{NO_SUCH_HOST}/v1",
                "bad-certificate": f"https://127.0.0.1:{upstream.tls_port}/v1",
            }
            if name == "bad-certificate" and upstream.tls_port is None:
                raise Unfit("no openssl to make a certificate")
            providers = {
                "bad": provider(bad.get(name, upstream.url), TIMEOUT_S),
                "good": provider(setting.spare.url),
            }
            rungs = [("small", "bad"), ("large", "good")]
            file = ladder_file(setting.folder, providers, rungs)
            evidence = await gather(file, setting, probes=OPEN_S if FAULTS[name].hangs else None)
        return Finding(
            evidence=evidence,
            violations=violations(evidence) + _as_the_fault_is(evidence, name),
        )

    return run


def _as_the_fault_is(evidence: Evidence, name: str) -> list[str]:
    """Return what is amiss with how asks end under one fault alone: the second rung has no excuse."""
    fault = FAULTS[name]
    wrong = []
    for seen in evidence.seen:
        lag = evidence.lag.within(seen.began, seen.ended)
        if seen.outcome not in ("answered", "degraded") and lag < _EXCUSE_S:
            wrong.append(f"unanswered: ask {seen.ask}: {seen.error}")
        for tried in seen.tries:
            if not tried.deployment.endswith("/small") or not tried.called:
                continue
            if tried.error not in (fault.error, "ProviderTimeout"):
                wrong.append(f"mistaken: ask {seen.ask}: {name} was taken for {tried.error}")
            elif tried.retry_after_s is not None and tried.retry_after_s > 2:
                wrong.append(
                    f"mistaken: ask {seen.ask}: Retry-After was read as {tried.retry_after_s} s"
                )
    return wrong


async def _mixed(setting: Setting) -> Finding:
    """Let every rung be a pool: of one upstream that does everything, and of three bad addresses."""
    names = tuple(name for name, fault in FAULTS.items() if not fault.address)
    models = ("small", "medium", "large")
    faulty = {model: Faulty(share=0.3, faults=names) for model in models}
    upstream = setting.upstream
    # A pause of a second would leave little to be seen but pauses.
    upstream.plan(Plan(faulty=faulty, retry_after_s=0.05))
    with refused_port() as port:
        addresses = {
            "up": upstream.url,
            "refused": f"http://127.0.0.1:{port}/v1",
            "no-such-host": f"http://{NO_SUCH_HOST}/v1",
            "bad-certificate": f"https://127.0.0.1:{upstream.tls_port or port}/v1",
        }
        providers = {name: provider(url, TIMEOUT_S) for name, url in addresses.items()}
        shares = [(name, 0.7 if name == "up" else 0.1) for name in addresses]
        providers["all"] = pool(shares)
        file = ladder_file(setting.folder, providers, [(model, "all") for model in models])
        evidence = await gather(file, setting, probes=None)
    return Finding(evidence=evidence, violations=violations(evidence))
