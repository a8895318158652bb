"""Logged traffic replayed over columns: what a policy would have cost, which one to take, and what it promises."""
