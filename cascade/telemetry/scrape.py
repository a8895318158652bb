"""The text that a scraper of Prometheus reads: all of prometheus_client's own registry."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from .prometheus import publish_live
from .prometheus_live import adds_up_workers

__all__ = ["scrape"]


def scrape(accept: str) -> tuple[bytes, str]:
    """Return the text and its content type, in the newest format that the scraper takes.

    Where several workers are added up it is that of all of them.

    Args:
        accept: Its header `Accept`, "" for none.
    """
    encode, content_type = choose_encoder(accept)
    if not adds_up_workers():
        return encode(REGISTRY), content_type
    publish_live()
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return encode(together), content_type
