"""Every test of the transport also shows that its scripts touch declared keys only."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _declared(keys_are_declared: None) -> None:
    """See `keys_are_declared`."""
