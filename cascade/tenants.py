"""What stands between the walk and the rungs' clients: the limits of tenants, over all rungs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .ports import Client, Clock
from .resilience.limits import CallLimits, Limited
from .resilience.shared_state import SharedState
from .spending import EVERY_OTHER
from .types import Answer, ModelCall

__all__ = ["Rungs", "TenantLimits"]


class Rungs:
    """The clients of all rungs as one: a call goes to that of its rung.

    Args:
        clients: In the order of the ladder. They are their owner's to close.
    """

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients
        self.keeps_deadlines = all(getattr(client, "keeps_deadlines", False) for client in clients)

    async def complete(self, call: ModelCall) -> Answer:
        """Return the answer of the call's rung; see `ports.Client`."""
        return await self._clients[call.rung].complete(call)

    async def aclose(self) -> None:
        """Close nothing: a client may serve several rungs."""


class TenantLimits:
    """A client that keeps each tenant to its limits.

    Args:
        client: Makes the calls.
        limits: By tenant; under ``"*"`` for each that is not named, on its own. A tenant that is in
            neither, and a call without one, are not limited.
        clock: Time source, the one that deadlines are readings of.
        shared: Keeps them together with other processes; None: they are this one's own.
    """

    def __init__(
        self,
        client: Client,
        limits: Mapping[str, CallLimits],
        clock: Clock,
        shared: SharedState | None = None,
    ) -> None:
        self._client = client
        self._limited = {
            name: Limited(
                client,
                limit,
                provider="tenants",
                clock=clock,
                by="tenant",
                shared=None if shared is None else shared.limits_of("tenants", limit),
            )
            for name, limit in limits.items()
        }
        self.keeps_deadlines: bool = getattr(client, "keeps_deadlines", False) and all(
            limited.keeps_deadlines for limited in self._limited.values()
        )

    async def complete(self, call: ModelCall) -> Answer:
        """Return the client's answer, once the tenant has room for the call.

        Raises:
            LimitReached: There is none in time.
            ProviderError: The call failed.
        """
        tenant = call.context.tenant
        found = self._limited.get(tenant or "") or self._limited.get(EVERY_OTHER)
        return await (self._client if found is None else found).complete(call)

    async def aclose(self) -> None:
        """Send away all that wait."""
        for limited in self._limited.values():
            await limited.aclose()
