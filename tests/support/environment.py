"""The environment of the processes that tests start."""

from __future__ import annotations

import os

__all__ = ["FAST", "clean_environment"]

FAST = {
    "FEEDBACK_MAX_ATTEMPTS": "3",
    "FEEDBACK_RETRY_BASE": "0.2",
    "FEEDBACK_RETRY_CAP": "1",
    "FEEDBACK_RETRY_HORIZON": "3600",
    "FEEDBACK_REQUEST_TIMEOUT": "1",
    "FEEDBACK_CONCURRENCY": "8",
    "FLOWER_UNAUTHENTICATED_API": "true",
}
"""Three attempts in about a second."""


def clean_environment(*, coverage: bool = True) -> dict[str, str]:
    """This process' environment without the settings of the person who runs the tests.

    Args:
        coverage: Whether a process that a test starts measures coverage as this one does, which takes time.
    """
    left_out = ("AQUILAX_", "FEEDBACK_") if coverage else ("AQUILAX_", "FEEDBACK_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
