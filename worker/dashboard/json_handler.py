"""What all handlers of the API share: JSON in, JSON out, and nothing that a page of another site could send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from worker.dashboard.admission import is_simple
from worker.dashboard.documents import read_document, text_in, values_in
from worker.dashboard.handler import Handler, Refused, explained, whole

if TYPE_CHECKING:
    from worker.dashboard.filters import Filters

__all__ = ["Api"]

_LIMIT: Final = 50
_MOST: Final = 500


class Api(Handler):
    """What answers in JSON."""

    def check_token(self) -> None:
        """Take only what no page of another site can send: JSON, with a header that a browser would ask about first.

        Raises:
            HTTPError: 403.
        """
        headers = self.request.headers
        kind, requested_with = headers.get("Content-Type", ""), headers.get("X-Requested-With")
        if is_simple(content_type=kind, requested_with=requested_with):
            raise Refused(403, "a change needs Content-Type: application/json and the header X-Requested-With")

    def say(self, title: str, words: str, *, do: str = "") -> None:
        """Answer with a problem, as JSON."""
        self.finish({"error": words, "title": title} | ({"do": do} if do else {}))

    def sent(self, *names: str) -> dict[str, Any]:
        """Return the document that was sent, which may have these fields; its address has none.

        Raises:
            Refused: It has another one, or its address has: neither a misspelt nor a misplaced filter chooses all rows.
        """
        self.asked()
        with explained():
            return read_document(self.request.body, names)

    def chosen(self, document: dict[str, Any]) -> Filters:
        """Return the filters of a document.

        Raises:
            Refused: One can't be read.
        """
        return self.filters(values_in(document))

    def reason(self, document: dict[str, Any], *, needed: bool = True) -> str:
        """Return the document's ``why``, see `Handler.why`."""
        with explained():
            return self.why(text_in(document, "why"), needed=needed)

    def limit(self) -> int:
        """Return how many of a list are wanted.

        Raises:
            Refused: It is no such number.
        """
        return whole("limit", self.get_query_argument("limit", str(_LIMIT)), least=1, most=_MOST)
