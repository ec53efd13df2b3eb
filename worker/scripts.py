"""The Lua scripts of the ledger and of the hold."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["script"]


def script(name: str) -> str:
    """Return the text of a script."""
    return files("worker").joinpath("lua", f"{name}.lua").read_text("utf-8")
