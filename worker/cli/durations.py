"""Durations as commands print them."""

from worker.durations import span

__all__ = ["span"]
