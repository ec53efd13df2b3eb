"""What to do about a cause of dead letters: in a sentence, and where the runbook has more."""

from __future__ import annotations

from typing import Final

from worker.policy.fingerprint import head_of
from worker.policy.retry import Reason

__all__ = ["advice_of", "advice_on", "runbook_of"]

_ADVICE: Final = {
    Reason.REJECTED: "AquilaX does not take it as it is: fix the backend, replay what was right, discard the rest.",
    Reason.FORBIDDEN: "Give the key the permission for this org or group at AquilaX, then replay.",
    Reason.EXHAUSTED: "AquilaX was unavailable for longer than the attempts last: once back, replay, slowly if many.",
    Reason.INVALID: "A client writes messages of its own: fix it. There is no event in this that could be replayed.",
}

_ADVICE_BY_STATUS: Final = {
    404: "AquilaX does not know this request id: it is of another instance, or too old. Fix the backend, replay what "
    "was right, discard the rest.",
    400: "AquilaX finds something wrong in what was sent, and its response says what: often the org, the group or the "
    "id. Fix the backend, replay what was right, discard the rest.",
}

_PAGE: Final = "docs/operations.md"

_SECTIONS: Final = {
    Reason.REJECTED: "dead-letters-pile-up",
    Reason.FORBIDDEN: "dead-letters-pile-up",
    Reason.EXHAUSTED: "aquilax-is-down",
    Reason.INVALID: "dead-letters",
}


def advice_on(reason: Reason, http_status: int | None) -> str:
    """Return what to do about dead letters of a reason and a status, in a sentence."""
    if reason is Reason.REJECTED and http_status in _ADVICE_BY_STATUS:
        return _ADVICE_BY_STATUS[http_status]
    return _ADVICE[reason]


def advice_of(summary: str) -> str:
    """Return what to do about a cause, by its summary; where that says no reason, where to read."""
    reason, http_status = head_of(summary)
    return f"See {runbook_of(summary)}." if reason is None else advice_on(reason, http_status)


def runbook_of(summary: str) -> str:
    """Return the page and the section that says what to do about a cause, as the alerts name theirs."""
    reason, _ = head_of(summary)
    return f"{_PAGE}#{_SECTIONS.get(reason, 'dead-letters') if reason else 'dead-letters'}"
