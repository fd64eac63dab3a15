"""Benchmarks. ``pytest bench`` and ``python -m bench`` run the same cases."""
