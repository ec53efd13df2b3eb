from __future__ import annotations

import pytest
from sqlalchemy import exc

from worker.database.errors import DeadLetterStoreUnavailable, translated


def _database_errors() -> list[type[exc.DBAPIError]]:
    found, kinds = [], [exc.DBAPIError]
    while kinds:
        kind = kinds.pop()
        found.append(kind)
        kinds += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", _database_errors())
def test_every_error_of_a_database_means_that_the_event_waits(kind: type[exc.DBAPIError]) -> None:
    """No driver's error reaches the caller under a foreign name, and the statement is no part of the message."""
    with pytest.raises(DeadLetterStoreUnavailable, match="went away") as caught, translated():
        raise kind("INSERT INTO dead_letters", {"org": "org-1"}, Exception("the server went away\nmore"))

    assert "INSERT" not in str(caught.value)
    assert "org-1" not in str(caught.value)


def test_an_exhausted_pool_means_that_the_event_waits() -> None:
    """All connections are busy, or hang."""
    with pytest.raises(DeadLetterStoreUnavailable, match="no connection free"), translated():
        raise exc.TimeoutError


def test_a_mistake_of_our_own_is_not_hidden() -> None:
    """A statement that can't be compiled is no outage."""
    with pytest.raises(exc.CompileError), translated():
        raise exc.CompileError("nonsense")
