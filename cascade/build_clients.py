"""Makes the clients that a ladder file describes, with what stands before them.

Around every client over HTTP, from the outside: repetition, breaker, limits. A pool repeats over its
members, which keep their breakers and limits: a provider's state is one, whoever calls it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from .ports import Client, Clock
from .pricing import Price

if TYPE_CHECKING:
    from .config import AnthropicProvider, LadderConfig, OpenAIProvider, PoolProvider
    from .resilience.hedge import Hedge
    from .resilience.shared_state import SharedState

__all__ = ["hedge", "provider_clients", "shared_state"]


def provider_clients(
    config: LadderConfig,
    http: Any = None,
    clock: Clock | None = None,
    shared: SharedState | None = None,
) -> dict[str, Client]:
    """Return a client for every provider that a rung or the judge uses; the caller closes them.

    Args:
        config: What the ladder file says.
        http: An `httpx.AsyncClient` or transport for all of them; None: a connection pool each.
        clock: Time source of what stands before the clients; None: the machine's.
        shared: What is kept together with other processes; None: nothing is.
    """
    from .config import JudgeScorer

    makers = _Makers(config, http, clock, shared)
    used = {rung.provider for rung in config.ladder}
    if isinstance(config.scorer, JudgeScorer):
        used.add(config.scorer.provider)
    return {name: makers.client(name) for name in config.providers if name in used}


def hedge(config: Any) -> Hedge | None:
    """Return what a `hedge` key says, None where there is none."""
    from .resilience.hedge import Hedge

    return None if config is None else Hedge(**dict(config))


def shared_state(config: LadderConfig, clock: Clock | None = None) -> SharedState | None:
    """Return what a `shared` key says, None where there is none."""
    wanted = config.shared
    if wanted is None:
        return None
    from .resilience.shared_state import SharedState

    return SharedState(
        wanted.url,
        ladder=config.name,
        prefix=wanted.prefix,
        limits=wanted.limits,
        breakers=wanted.breakers,
        clock=clock,
    )


class _Makers:
    """Makes clients, those of members once."""

    def __init__(
        self, config: LadderConfig, http: Any, clock: Clock | None, shared: SharedState | None
    ) -> None:
        self._config = config
        self._shared = shared
        self._http = http
        self._clock = clock
        self._members: dict[str, Client] = {}

    def client(self, name: str) -> Client:
        """Return the client of a provider, repetition included."""
        from .config import PoolProvider, RecordedProvider

        provider = self._config.providers[name]
        if isinstance(provider, RecordedProvider):
            return self.member(name)
        elsewhere = None
        if isinstance(provider, PoolProvider):
            client: Client = self._pool(name, provider)
            elsewhere = client.elsewhere  # type: ignore[attr-defined]
        else:
            client = self.member(name)
        if provider.retry is None:
            return client
        from .resilience.retry import Retrying, RetryPolicy

        return Retrying(
            client,
            RetryPolicy(**dict(provider.retry)),
            rng=random.Random(),  # noqa: S311 - spreads waits, keeps no secret
            clock=self._clock,
            elsewhere=elsewhere,
        )

    def member(self, name: str) -> Client:
        """Return the client of a provider without repetition; the same one each time."""
        if name not in self._members:
            self._members[name] = self._make_member(name)
        return self._members[name]

    def _make_member(self, name: str) -> Client:
        from .config import RecordedProvider

        provider: Any = self._config.providers[name]
        if isinstance(provider, RecordedProvider):
            from .clients.recorded import RecordedClient

            return RecordedClient(name, provider.path)
        from .resilience.breaker import BreakerSettings, Breaking
        from .resilience.limits import CallLimits, Limited

        limits, shared = CallLimits(**dict(provider.limits)), self._shared
        client: Client = Limited(
            self._http_client(name, provider),
            limits,
            provider=name,
            clock=self._clock,
            shared=None if shared is None else shared.limits_of(f"provider:{name}", limits),
        )
        if provider.breaker is None:
            return client
        settings = BreakerSettings(**dict(provider.breaker))
        return Breaking(
            client,
            settings,
            provider=name,
            clock=self._clock,
            verdicts=None if shared is None else shared.verdicts,
        )

    def _http_client(self, name: str, provider: OpenAIProvider | AnthropicProvider) -> Client:
        from .clients.http import Limits, as_transport
        from .config import AnthropicProvider

        shared: dict[str, Any] = {
            "headers": provider.headers,
            "transport": None if self._http is None else as_transport(self._http),
            "limits": Limits(
                max_connections=provider.max_connections,
                connect_timeout_s=provider.connect_timeout_s,
                first_token_timeout_s=provider.first_token_timeout_s,
                between_tokens_timeout_s=provider.between_tokens_timeout_s,
            ),
            "timeout_s": provider.timeout_s,
        }
        if isinstance(provider, AnthropicProvider):
            from .clients.anthropic import AnthropicClient

            shared["headers"] = {"anthropic-version": provider.version, **provider.headers}
            return AnthropicClient(name, provider.base_url, provider.api_key, **shared)
        from .clients.openai import OpenAIClient

        shared["logprobs"] = provider.logprobs
        return OpenAIClient(name, provider.base_url, provider.api_key, **shared)

    def _pool(self, name: str, provider: PoolProvider) -> Any:
        from .config import PoolMember
        from .resilience.pool import Member, Pool

        members = []
        for given in provider.of:
            member = PoolMember(provider=given) if isinstance(given, str) else given
            price = None if member.price is None else Price(**dict(member.price))
            members.append(
                Member(
                    member.provider,
                    self.member(member.provider),
                    weight=member.weight,
                    model=member.model,
                    price=price,
                )
            )
        return Pool(
            name,
            members,
            strategy=provider.strategy,
            sticky=provider.sticky,
            hedge=hedge(provider.hedge),
            clock=self._clock,
        )
