"""Requests that schemathesis makes up from an OpenAPI document, when the test runs that sends them.

A schema's own ``parametrize()`` makes them up as the tests are collected, which takes seconds: in each process of each
run, whichever tests it chooses. Its lazy form (``schemathesis.pytest.from_fixture``) does not work on pytest 9.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests

if TYPE_CHECKING:
    from collections.abc import Callable

    import schemathesis

__all__ = ["each_request", "operations"]

_METHODS: Final = ("get", "put", "post", "delete", "patch")


def operations(document: dict[str, Any]) -> list[str]:
    """The names of a document's operations, as ``GET /v1/feedback``."""
    paths = document["paths"].items()
    return [f"{method.upper()} {path}" for path, described in paths for method in _METHODS if method in described]


def each_request(
    schema: schemathesis.BaseSchema, operation: str, send: Callable[[schemathesis.Case[Any]], None], *, examples: int
) -> None:
    """Send every request of one operation, the same each time: each kind of valid and invalid one, and random ones.

    Args:
        schema: Of the document.
        operation: Its name.
        send: Sends a request, and fails if the answer is not as it is documented.
        examples: How many random ones there are.
    """

    def test(case: schemathesis.Case[Any]) -> None:
        send(case)

    load_all_checks()
    every = settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
    )
    (found,) = get_all_tests(
        schema=schema.include(name=operation), test_func=every(test), settings=None, given_kwargs=None
    )
    assert isinstance(found, Ok), found
    _, sending = found.ok()
    sending()
