"""The text that a scraper of Prometheus reads: all of prometheus_client's own registry."""

from __future__ import annotations

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

__all__ = ["scrape"]


def scrape(accept: str) -> tuple[bytes, str]:
    """Return the text and its content type, in the newest format that the scraper takes.

    Args:
        accept: Its header `Accept`, "" for none.
    """
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type
