"""What the sandbox received: how often each request_id came, what it was answered, which vote was accepted last."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.sandbox.contract import Ask

__all__ = ["GONE", "MAX_RECENT", "MAX_REQUEST_IDS", "Account", "ReceivedLog", "ReceivedRequest", "Totals", "Visit"]

MAX_RECENT: Final = 20
"""Requests that are listed for one request_id: the most recent ones."""

MAX_REQUEST_IDS: Final = 500_000
"""Request_ids that are told apart, about half a gigabyte; requests for further ones are counted, and no more."""

GONE: Final = "gone"
"""The answer of a request whose sender hung up before there was one."""

AnswerWord: TypeAlias = int | str | None
"""A status, or ``"hang"``, ``"reset"``, ``"close"``, ``"gone"``; None while there is none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request, as the sandbox reports it."""

    at: datetime
    status: str
    org: str
    group: str
    answer: AnswerWord
    user_agent: str

    def to_json(self) -> dict[str, Any]:
        """Return it with the moment in ISO 8601."""
        return {**asdict(self), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> ReceivedRequest:
        """Read what `to_json` writes."""
        return cls(**{**given, "at": datetime.fromisoformat(given["at"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of one request_id.

    Attributes:
        request_id: The request_id.
        received: How often it came.
        delivered: How often it was answered 2xx.
        status: The last vote that was accepted, "true" or "false"; None if none was.
        org: The organization that it last came with; None if it never came.
        group: The group that it last came with; None if it never came.
        in_flight: Requests for it that are being answered.
        max_in_flight: The most that there ever were at once.
        recent: The most recent requests, the oldest first.
    """

    request_id: str
    received: int = 0
    delivered: int = 0
    status: str | None = None
    org: str | None = None
    group: str | None = None
    in_flight: int = 0
    max_in_flight: int = 0
    recent: tuple[ReceivedRequest, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it with everything in it as JSON."""
        return {**asdict(self), "recent": [request.to_json() for request in self.recent]}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Account:
        """Read what `to_json` writes; the recent requests may be left out."""
        return cls(**{**given, "recent": tuple(ReceivedRequest.from_json(one) for one in given.get("recent", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the sandbox received in all.

    Attributes:
        requests: Requests.
        answers: How many got which answer: a status as text, or ``hang``, ``reset``, ``close``, ``gone``.
        request_ids: Request_ids that came.
        delivered: Request_ids that were answered 2xx at least once.
        in_flight: Requests that are being answered.
        max_in_flight: The most that there ever were at once for one and the same request_id.
        untold: Requests for which there was no room, or whose request_id is no UUID: they are counted, and no more.
    """

    requests: int
    answers: Mapping[str, int]
    request_ids: int
    delivered: int
    in_flight: int
    max_in_flight: int
    untold: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Totals:
        """Read what `to_json` writes."""
        return cls(**given)


@dataclass(slots=True, eq=False)
class Visit:
    """One request that passes through the sandbox."""

    ask: Ask
    at: float
    answer: AnswerWord = None
    entry: _Entry | None = None


@dataclass(slots=True, eq=False)
class _Entry:
    """The counts of one request_id."""

    received: int = 0
    delivered: int = 0
    status: str | None = None
    in_flight: int = 0
    max_in_flight: int = 0
    recent: deque[Visit] = field(default_factory=lambda: deque(maxlen=MAX_RECENT))

    def arrived(self, visit: Visit) -> None:
        self.received += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.recent.append(visit)

    def account(self, request_id: str, *, recent: bool) -> Account:
        last = self.recent[-1].ask
        return Account(
            request_id=request_id,
            received=self.received,
            delivered=self.delivered,
            status=self.status,
            org=last.org,
            group=last.group,
            in_flight=self.in_flight,
            max_in_flight=self.max_in_flight,
            recent=tuple(_request(visit) for visit in self.recent) if recent else (),
        )


class ReceivedLog:
    """The sandbox's memory of requests. It belongs to one thread."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._answers: Counter[str] = Counter()
        self._requests = 0
        self._in_flight = 0
        self._delivered = 0
        self._untold = 0

    def arrived(self, ask: Ask, *, at: float) -> Visit:
        """Remember a request that came ``at`` so many seconds since 1970."""
        entry = self._entry(ask)
        visit = Visit(ask, at, entry=entry)
        self._requests += 1
        self._in_flight += 1
        if entry is None:
            self._untold += 1
        else:
            entry.arrived(visit)
        return visit

    def answered(self, visit: Visit, answer: int | str) -> None:
        """Remember what a request is answered: a status, or how it is not answered."""
        visit.answer = answer
        self._answers[str(answer)] += 1
        entry = visit.entry
        if entry is not None and isinstance(answer, int) and answer // 100 == 2:  # noqa: PLR2004 - the 2xx statuses
            self._delivered += entry.delivered == 0
            entry.delivered += 1
            entry.status = visit.ask.status

    def left(self, visit: Visit) -> None:
        """Remember that a request is over."""
        self._in_flight -= 1
        if visit.entry is not None:
            visit.entry.in_flight -= 1
        if visit.answer is None:
            self.answered(visit, GONE)

    def totals(self) -> Totals:
        """Return the sums."""
        return Totals(
            requests=self._requests,
            answers=dict(self._answers),
            request_ids=len(self._entries),
            delivered=self._delivered,
            in_flight=self._in_flight,
            max_in_flight=max((entry.max_in_flight for entry in self._entries.values()), default=0),
            untold=self._untold,
        )

    def account(self, request_id: str) -> Account:
        """Return what became of one request_id; all zeros if it never came."""
        entry = self._entries.get(request_id)
        return Account(request_id=request_id) if entry is None else entry.account(request_id, recent=True)

    def accounts(self) -> list[Account]:
        """Return what became of every request_id, without the recent requests of each."""
        return [entry.account(request_id, recent=False) for request_id, entry in self._entries.items()]

    def _entry(self, ask: Ask) -> _Entry | None:
        entry = self._entries.get(ask.request_id)
        if entry is None and ask.names_a_request and len(self._entries) < MAX_REQUEST_IDS:
            entry = self._entries[ask.request_id] = _Entry()
        return entry


def _request(visit: Visit) -> ReceivedRequest:
    ask = visit.ask
    return ReceivedRequest(
        at=datetime.fromtimestamp(visit.at, UTC),
        status=ask.status,
        org=ask.org,
        group=ask.group,
        answer=visit.answer,
        user_agent=ask.user_agent,
    )
