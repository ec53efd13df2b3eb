"""How the sandbox misbehaves: a value, validated whole, with its own codec. Chance and time are arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from worker.sandbox import fields
from worker.sandbox.fields import InvalidFieldError
from worker.sandbox.responses import LONGEST_LATENCY, Answer, ScriptedResponse, Silence

__all__ = ["ConflictingRatesError", "Faults", "Outage"]

_LONGEST_OUTAGE: Final = 30 * 86_400.0
_LONGEST_RETRY_AFTER: Final = 30 * 86_400.0
_OUTAGE_ANSWERS: Final[Mapping[str, Answer]] = {"503": ScriptedResponse(status=503), "reset": Silence.RESET}
_ERRORS: Final = {str(status): status for status in range(300, 600)}
_FORMS: Final = ("seconds", "date")
_ROUNDING: Final = 1e-9
"""0.1 + 0.2 + 0.7 is a little above 1 in floating point."""


class ConflictingRatesError(ValueError):
    """Each rate is fine, but together they are above 1: lower one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time in which nothing works.

    Attributes:
        starts_after: Seconds from when it was asked for until it begins.
        lasts: Seconds that it lasts; until it is ended if None.
        answer: What every request gets meanwhile: ``"503"`` or ``"reset"``.
    """

    starts_after: float = 0.0
    lasts: float | None = None
    answer: str = "503"

    def answer_at(self, elapsed: float) -> Answer | None:
        """Return what a request gets `elapsed` seconds after the outage was asked for; None if it is not on."""
        over = self.lasts is not None and elapsed >= self.starts_after + self.lasts
        return None if elapsed < self.starts_after or over else _OUTAGE_ANSWERS[self.answer]

    def to_json(self) -> dict[str, Any]:
        """Return it as ``{"from": seconds, "for": seconds or null, "with": "503" or "reset"}``."""
        return {"from": self.starts_after, "for": self.lasts, "with": self.answer}

    @classmethod
    def from_json(cls, value: object) -> Outage:
        """Read what `to_json` writes; each field may be left out.

        Raises:
            InvalidFieldError: A field is wrong; it says which, and what is expected.
        """
        given = fields.known("outage", value, ("from", "for", "with"))
        lasts = given.get("for")
        return cls(
            starts_after=fields.number("outage.from", given.get("from", 0.0), longest=_LONGEST_OUTAGE),
            lasts=None if lasts is None else fields.number("outage.for", lasts, longest=_LONGEST_OUTAGE),
            answer=fields.choice("outage.with", given.get("with", "503"), tuple(_OUTAGE_ANSWERS)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How the sandbox answers; left alone, it behaves well.

    Attributes:
        error_rates: Share of requests by the status they get instead of the API's own answer.
        hang_rate: Share of requests that are never answered.
        reset_rate: Share of requests whose connection is reset.
        close_rate: Share of requests whose connection is closed without an answer.
        latency: Seconds before every answer.
        jitter: Up to so many seconds more.
        trickle_rate: Share of answers that come byte by byte.
        trickle_interval: Seconds between two such bytes.
        retry_after: Seconds that a 429 or a 503 asks for; no ``Retry-After`` if None.
        retry_after_form: ``"seconds"``, or ``"date"`` for an HTTP date.
        redirect_to: The ``Location`` of a 3xx.
        outage: A time in which nothing works.
        unknown_share: Share of request_ids that are unknown (404): the same ones each time.
        unknown_request_ids: Request_ids that are unknown.
        revoked_key: Whether no key is accepted any more (401).
        forbidden_orgs: Organizations that the key may not speak for (403).
        forbidden_groups: Groups that the key may not speak for (403).
        echo_headers: Whether an answer repeats the request's headers, the key among them.

    Raises:
        InvalidFieldError: A field is wrong; it says which, and what is expected.
        ConflictingRatesError: The rates are together above 1.
    """

    error_rates: Mapping[int, float] = field(default_factory=dict)
    hang_rate: float = 0.0
    reset_rate: float = 0.0
    close_rate: float = 0.0
    latency: float = 0.0
    jitter: float = 0.0
    trickle_rate: float = 0.0
    trickle_interval: float = 1.0
    retry_after: float | None = None
    retry_after_form: str = "seconds"
    redirect_to: str = "/elsewhere"
    outage: Outage | None = None
    unknown_share: float = 0.0
    unknown_request_ids: frozenset[str] = frozenset()
    revoked_key: bool = False
    forbidden_orgs: frozenset[str] = frozenset()
    forbidden_groups: frozenset[str] = frozenset()
    echo_headers: bool = False
    _misfortunes: Sequence[tuple[Answer, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, read in _READ.items():
            object.__setattr__(self, name, read(name, getattr(self, name)))
        silences = ((Silence.HANG, self.hang_rate), (Silence.RESET, self.reset_rate), (Silence.CLOSE, self.close_rate))
        errors = ((ScriptedResponse(status=status), rate) for status, rate in self.error_rates.items())
        object.__setattr__(self, "_misfortunes", (*silences, *errors))
        together = sum(rate for _, rate in self._misfortunes)
        if together > 1 + _ROUNDING:
            raise ConflictingRatesError(
                f"error_rates, hang_rate, reset_rate and close_rate are together {together:g}: expected at most 1"
            )

    def misfortune(self, chance: float) -> Answer | None:
        """Return what befalls a request, instead of the API's own answer; None if nothing does.

        Args:
            chance: From 0 to 1, below 1; drawn for each request.
        """
        reached = 0.0
        for answer, rate in self._misfortunes:
            reached += rate
            if chance < reached:
                return answer
        return None

    def knows(self, request_id: str) -> bool:
        """Whether there is such a request_id; it depends on its hash, so it is the same on every try."""
        if request_id in self.unknown_request_ids:
            return False
        if not self.unknown_share:
            return True
        digest = hashlib.sha256(request_id.encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64 >= self.unknown_share

    def forbids(self, org: str, group: str) -> bool:
        """Whether the key may not speak for this organization or this group."""
        return org in self.forbidden_orgs or group in self.forbidden_groups

    def changed(self, changes: object) -> Faults:
        """Return this behaviour with some fields of its JSON form changed.

        Raises:
            InvalidFieldError: A field is wrong or unknown; it says which, and what is expected.
            ConflictingRatesError: The rates are together above 1.
        """
        return replace(self, **fields.known("behaviour", changes, tuple(_READ)))

    def to_json(self) -> dict[str, Any]:
        """Return it as `changed` reads it."""
        plain = {name: getattr(self, name) for name in _READ}
        plain = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in plain.items()}
        plain["error_rates"] = {str(status): rate for status, rate in self.error_rates.items()}
        plain["outage"] = self.outage and self.outage.to_json()
        return plain


def _error_rates(name: str, value: object) -> Mapping[int, float]:
    expected = 'an object of rates by status from 300 to 599, such as {"503": 0.1}'
    if not isinstance(value, Mapping):
        raise InvalidFieldError(name, value, expected)
    for status in value:
        if str(status) not in _ERRORS:
            raise InvalidFieldError(name, status, expected)
    return {_ERRORS[str(status)]: fields.share(f"{name}.{status}", rate) for status, rate in value.items()}


def _retry_after(name: str, value: object) -> float | None:
    return None if value is None else fields.number(name, value, longest=_LONGEST_RETRY_AFTER)


def _outage(_name: str, value: object) -> Outage | None:
    return value if value is None or isinstance(value, Outage) else Outage.from_json(value)


_seconds: Final = partial(fields.number, longest=LONGEST_LATENCY)

_READ: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "error_rates": _error_rates,
    "hang_rate": fields.share,
    "reset_rate": fields.share,
    "close_rate": fields.share,
    "latency": _seconds,
    "jitter": _seconds,
    "trickle_rate": fields.share,
    "trickle_interval": _seconds,
    "retry_after": _retry_after,
    "retry_after_form": partial(fields.choice, choices=_FORMS),
    "redirect_to": fields.url,
    "outage": _outage,
    "unknown_share": fields.share,
    "unknown_request_ids": fields.request_ids,
    "revoked_key": fields.switch,
    "forbidden_orgs": fields.names,
    "forbidden_groups": fields.names,
    "echo_headers": fields.switch,
}
"""How each field is read; the names are those of the JSON form and, with dashes, of the command's options."""
