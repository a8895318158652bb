"""Logs from elsewhere into traffic logs, logs into Parquet, and answers graded by a judge model."""
