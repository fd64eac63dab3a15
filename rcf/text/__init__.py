"""Parsing of cells, separators and dates, used by every command and every reader."""
