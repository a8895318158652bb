"""The proof of reliability: the engine against an upstream that does everything wrong.

`python -m tests.faults` runs every scenario, prints one table and fails on any difference.
"""
