"""Metrics for Prometheus and spans for OpenTelemetry: what asks do, seen from outside.

`prometheus` and `otel` need the extras of the same names; this package itself imports neither.
"""
