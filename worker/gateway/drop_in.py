"""A drop-in for AquilaX: ``GET /api/v2/ai/feedback/{request_id}/{status}?org&group``, answered once it is durable.

What AquilaX's document lets a client expect besides, 404 for an unknown request_id, 502 and 504, never comes, as the
event is delivered later. A query parameter that the document does not name is passed over.
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from producer import FeedbackEvent, InvalidEvent, ProducerError
from worker.gateway.http_reply import HttpReply, text_problem
from worker.gateway.intake import not_taken

if TYPE_CHECKING:
    from worker.gateway.exchange import Exchange
    from worker.gateway.intake import Intake

__all__ = ["DROP_IN", "DROP_IN_PREFIX", "DropIn"]

DROP_IN_PREFIX: Final = "/api/v2/ai/feedback/"
DROP_IN: Final = DROP_IN_PREFIX + "{request_id}/{status}"

_TAKEN: Final = HttpReply(status=HTTPStatus.OK, body=b'{"message":"Feedback submitted successfully"}')
"""Also for what is in the spool: AquilaX's document has no 202, and a client that was written for it may expect 200."""

_SAID: Final = {"org": "organization_id", "group": "group_id"}
"""AquilaX's words for the fields, as in `A valid organization_id is required in the URL path`."""

_CACHED: Final = 512
"""Bytes of a query up to which it is remembered: a backend has few of them, and sends each with many requests."""


class DropIn:
    """Answers as AquilaX does.

    Args:
        intake: Where events go.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def __call__(self, exchange: Exchange) -> HttpReply:
        """Take the event of a request."""
        try:
            event = _event(exchange)
        except InvalidEvent as error:
            exchange.invalid = 1
            name = _SAID.get(error.field, error.field)
            return text_problem(HTTPStatus.BAD_REQUEST, f"A valid {name} is required in the URL path: {error}")
        exchange.request_id = event.request_id
        try:
            exchange.spooled = await self._intake.take(event)
        except ProducerError as error:
            return not_taken(error)
        exchange.taken = 1
        return _TAKEN


def _event(exchange: Exchange) -> FeedbackEvent:
    """Read the event; raises `InvalidEvent`."""
    request_id, _, status = exchange.scope["path"][len(DROP_IN_PREFIX) :].partition("/")
    query: bytes = exchange.scope["query_string"]
    org, group = (_remembered_query if len(query) <= _CACHED else _query)(query)
    return FeedbackEvent(request_id=request_id, status=status, org=org, group=group)


def _query(query: bytes) -> tuple[str, str]:
    """Read org and group; raises `InvalidEvent`."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidEvent("the query is not percent-encoded UTF-8, or has too many fields") from None
    return _only(pairs, "org"), _only(pairs, "group")


def _only(pairs: list[tuple[str, str]], field: str) -> str:
    values = [value for name, value in pairs if name == field]
    if len(values) != 1:
        found = f"there {len(values)} times" if values else "missing"
        raise InvalidEvent(f"{field} is {found}: expected it once in the query", field=field)
    return values[0]


_MOST_FIELDS: Final = 100

_remembered_query: Final = lru_cache(maxsize=1024)(_query)
