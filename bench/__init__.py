"""Benchmarks: one corpus of cases, run by ``pytest bench`` and by ``python -m bench``."""
