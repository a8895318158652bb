"""Providers' JSON to and from our types: bytes in, bytes out, no IO."""
