"""What all handlers of the API share: JSON in, JSON out, and nothing that a page of another site could send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from worker.operations.dashboard.access_control import is_simple
from worker.operations.dashboard.documents import read_document, text_in, values_in
from worker.operations.dashboard.handler import Handler, RequestRefused, explained, whole

if TYPE_CHECKING:
    from worker.operations.dashboard.filters import Filters

__all__ = ["ApiHandler"]

_LIMIT: Final = 50
_MOST: Final = 500


class ApiHandler(Handler):
    """What answers in JSON."""

    def check_token(self) -> None:
        """Take only what no page of another site can send: JSON, with a header that a browser would ask about first.

        Raises:
            HTTPError: 403.
        """
        headers = self.request.headers
        kind, requested_with = headers.get("Content-Type", ""), headers.get("X-Requested-With")
        if is_simple(content_type=kind, requested_with=requested_with):
            raise RequestRefused(403, "a change needs Content-Type: application/json and the header X-Requested-With")

    def say(self, title: str, text: str, *, do: str = "") -> None:
        """Answer with a problem, as JSON."""
        self.finish({"error": text, "title": title} | ({"do": do} if do else {}))

    def sent(self, *names: str) -> dict[str, Any]:
        """Return the document that was sent, which may have these fields; its address has none.

        Raises:
            RequestRefused: The body or the query has another field: no misspelt filter may select all rows.
        """
        self.asked()
        with explained():
            return read_document(self.request.body, names)

    def chosen(self, document: dict[str, Any]) -> Filters:
        """Return the filters of a document.

        Raises:
            RequestRefused: One can't be read.
        """
        return self.filters(values_in(document))

    def comment_in(self, document: dict[str, Any], *, needed: bool = True) -> str:
        """Return the document's ``comment``; see `Handler.read_comment`."""
        with explained():
            return self.read_comment(text_in(document, "comment"), needed=needed)

    def limit(self) -> int:
        """Return how many of a list are wanted.

        Raises:
            RequestRefused: It is no such number.
        """
        return whole("limit", self.get_query_argument("limit", str(_LIMIT)), least=1, most=_MOST)
