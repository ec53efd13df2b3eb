"""Who runs a command: what stands in the audit log where `--actor` says nothing else."""

from __future__ import annotations

import getpass
import os

__all__ = ["current_actor"]


def current_actor() -> str:
    """Return the login's name; or its number, in a container whose uid no passwd names."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # by Python's release
        return f"uid {os.getuid()}"
