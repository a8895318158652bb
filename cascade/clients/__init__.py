"""Clients: each performs calls to one kind of provider."""
