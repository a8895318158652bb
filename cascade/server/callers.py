"""Who is calling, and whether they may: by key, or anybody on this machine where there are no keys."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from .failures import Refused
from .keys import KeyRing

__all__ = ["ANYBODY", "Caller", "identify", "is_loopback"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whose request it is.

    Attributes:
        key: Id of the key; None without keys.
        tenant: Whose ask it is, or None.
        ladders: Names of the ladders that may be asked; empty: all.
    """

    key: str | None = None
    tenant: str | None = None
    ladders: tuple[str, ...] = ()


ANYBODY = Caller()


def identify(headers: Mapping[bytes, bytes], keys: KeyRing | None) -> Caller:
    """Return who is calling.

    Without keys, requests that a browser makes for a page from elsewhere are refused: any web page can
    send them to a server on this machine.

    Args:
        headers: All headers, names in lower case.
        keys: Those that are known; None: none are needed.

    Raises:
        Refused: There is no key, or not a good one; or the request comes from elsewhere.
    """
    if keys is None:
        _check_local(headers)
        return ANYBODY
    given = headers.get(b"authorization")
    if given is not None:
        scheme, _, secret = given.decode("latin-1").partition(" ")
        secret = secret.strip() if scheme.lower() == "bearer" else ""
    else:
        secret = headers.get(b"x-api-key", b"").decode("latin-1").strip()
    if not secret:
        raise Refused(
            401,
            "missing_api_key",
            "no key given; send `Authorization: Bearer <key>` or `x-api-key: <key>`",
        )
    key = keys.find(secret)
    if key is None:
        raise Refused(401, "invalid_api_key", "the key is not known here")
    if keys.has_expired(key):
        raise Refused(401, "expired_api_key", f"the key {key.id} has expired")
    return Caller(key=key.id, tenant=key.tenant, ladders=key.ladders)


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine and nobody else can reach it.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_local(headers: Mapping[bytes, bytes]) -> None:
    for what in (b"host", b"origin"):
        value = headers.get(what)
        if value is not None and not _names_this_machine(value):
            raise Refused(
                403,
                "not_local",
                f"{what.decode()}: not this machine; a server without keys serves no other",
            )


@lru_cache(maxsize=64)
def _names_this_machine(value: bytes) -> bool:
    """Return whether a `Host` or an `Origin` is this machine's; taking one apart costs 10 µs."""
    text = value.decode("latin-1")
    try:
        return is_loopback(urlsplit(text if "://" in text else f"//{text}").hostname or "")
    except ValueError:
        return False
