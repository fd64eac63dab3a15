"""Parsing of cells, separators and dates, used by all commands and workers."""
