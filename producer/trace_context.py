"""The headers of W3C Trace Context as others write them: what of them is handed on with an event.

Format: https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["valid_trace"]

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE: Final = re.compile(r"[!-~][ -~]{0,511}")


def valid_trace(traceparent: str, tracestate: str) -> dict[str, str]:
    """Return a message's headers that lead back to a span.

    Args:
        traceparent: The span; without a valid one there is no header.
        tracestate: More of it, of up to 512 printable characters; anything else is left out.
    """
    if not _TRACEPARENT.fullmatch(traceparent):
        return {}
    return {"traceparent": traceparent} | ({"tracestate": tracestate} if _TRACESTATE.fullmatch(tracestate) else {})
