"""What pages say: who did what, which rows were chosen, what to do about a cause; and counts and bytes as shown."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from worker.database.models import State
from worker.operations.runbook import advice_on
from worker.operations.text import utc
from worker.policy.dead_letter import clean
from worker.policy.durations import span
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from worker.database.audit_log import Action
    from worker.database.models import DeadLetter

__all__ = [
    "COUNTED",
    "Bar",
    "RawView",
    "advice",
    "bars",
    "chosen",
    "counted",
    "deed",
    "details",
    "fingerprints_named",
    "moment",
    "person",
    "rate",
    "unusual",
    "view_of",
]

COUNTED: Final = 100_000
"""Rows that a list counts. Who acts on more of them sees their number in the preview."""

_NO_LOGIN: Final = "without login, from "

_DEEDS: Final = {
    "replay.create": "made",
    "replay.pause": "paused",
    "replay.resume": "resumed",
    "replay.cancel": "cancelled",
    "discard": "discarded",
    "hold": "held",
    "resume": "resumed",
    "worker.quiet": "quieted",
    "worker.consume": "let consume",
    "worker.stop": "stopped",
    "worker.grow": "grew",
    "worker.shrink": "shrank",
    "waiting.send_now": "sent now",
    "waiting.dead_letter": "made dead letters of",
    "cause.acknowledge": "acknowledged",
    "cause.resolve": "resolved",
    "cause.reopen": "reopened",
    "cause.mute": "muted",
    "cause.unmute": "unmuted",
    "cause.assign": "assigned",
    "cause.runbook": "linked",
    "cause.note": "noted",
    "token.create": "made",
    "token.revoke": "revoked",
}

_HEADS: Final = {
    "http_statuses": "HTTP ",
    "orgs": "org ",
    "groups": "group ",
    "request_ids": "request id ",
    "rest_of": "not sent by replay ",
}

_UNUSUAL: Final = {
    "replay": {
        State.DISCARDED: "discarded: they would be sent after all",
        State.REPLAYING: "replaying: they would be sent once more; right only if Redis has lost them",
    },
    "discard": {
        State.DISCARDED: "discarded already: they would get this reason",
        State.REPLAYING: "replaying: what is being sent may be delivered all the same",
    },
}

_SHOWN: Final = 16 * 1024
"""Bytes that a page shows; the rest is to be had as a file."""

_LINE: Final = 16


def moment(at: datetime | None) -> str:
    """Return a time in UTC; a dash for none."""
    return "—" if at is None else utc(at)


def person(actor: str) -> str:
    """Return who it was, as a part of a sentence."""
    return f"unknown, without login ({actor.removeprefix(_NO_LOGIN)})" if actor.startswith(_NO_LOGIN) else actor


def rate(value: float | None) -> str:
    """Return how fast a replay goes."""
    return "as fast as it goes" if value is None else f"{value:g} a second"


def deed(action: Action) -> str:
    """Return what was done, without to what: ``made``; a name that is new here stays as it is."""
    return _DEEDS.get(action.action, action.action)


def advice(row: DeadLetter) -> str:
    """Return what to do about what a row died of, in a sentence; more is in docs/operations.md."""
    return advice_on(row.reason, row.http_status)


def unusual(action: str, by_state: Iterable[tuple[str, int]], *, chosen: Iterable[State]) -> list[str]:
    """Return what to know about rows that are not dead and would be taken, one line for each state.

    Args:
        action: ``replay`` or ``discard``.
        by_state: How many rows of each state would be taken.
        chosen: The states that were asked for. Rows that are replaying are taken without that if they never got into
            the queue; see `worker.dead_letters.selection.replayable`.
    """
    text = _UNUSUAL[action]
    if State.REPLAYING not in chosen:
        text = text | {State.REPLAYING: "in an earlier replay that was cut short before they were sent"}
    return [f"{rows:,} {text.get(State(state), state)}" for state, rows in by_state if state != State.DEAD]


def fingerprints_named(*records: Mapping[str, Any]) -> set[str]:
    """Return the causes that records of selections name, whose summaries are looked up then."""
    return {cause for record in records for cause in record.get("fingerprints", ())}


def chosen(record: Mapping[str, Any], lines: Mapping[str, str]) -> str:
    """Return a selection as text: ``dead, of forbidden 403: …, died before 2026-11-26 05:22:27 UTC``.

    Args:
        record: What `Selection.to_record` returned, at any time; what is not known here is named as it is.
        lines: Causes as text, by their fingerprints.
    """
    left = dict(record)
    states, reasons = left.pop("states", ()), left.pop("reasons", ())
    parts = [
        _either("", ("of any state",) if len(states) == len(State) else states),
        _either("row ", left.pop("ids", ())),
        _either("of ", [lines.get(cause, f"cause {cause}") for cause in left.pop("fingerprints", ())]),
        _either("", () if len(reasons) == len(Reason) else reasons),
        *(_either(head, left.pop(name, ())) for name, head in _HEADS.items()),
        _time("died since ", left.pop("since", "")),
        _time("died before ", left.pop("until", "")),
        *(f"{name}: {value}" for name, value in left.items()),
    ]
    return ", ".join(part for part in parts if part) or "all dead letters"


def details(action: Action, lines: Mapping[str, str]) -> list[str]:
    """Return what else the audit has of an action, as text; the arguments are those of `chosen`."""
    left = dict(action.details)
    text = []
    if isinstance(rows := left.pop("rows", None), int):
        text.append(f"{rows:,} row{'' if rows == 1 else 's'}")
    if isinstance(messages := left.pop("messages", None), int):
        text.append(f"{messages:,} message{'' if messages == 1 else 's'}")
    if isinstance(waiting := left.pop("waiting", None), dict):
        text.append(_waiting(waiting))
    if "rate" in left:
        text.append(rate(left.pop("rate")))
    if canary := left.pop("canary", 0):
        text.append(f"a canary of {canary:,}")
    text += [f"{name} set to {value}" for name in ("org", "group") if (value := left.pop(f"set_{name}", None))]
    if begins := left.pop("begins_at", ""):
        text.append(_time("to begin at ", str(begins)))
    if isinstance(selection := left.pop("selection", None), dict):
        text.append(chosen(selection, lines))
    if isinstance(held := left.pop("held", None), dict):
        text.append(_held(held, until=action.at))
    return text + [f"{name}: {value}" for name, value in left.items()]


def _waiting(which: Mapping[str, Any]) -> str:
    """Which of the messages that wait were meant, as `worker.operations.waiting.control.Chosen.to_record` has it."""
    if ids := which.get("ids"):
        return f"{len(ids):,} by id"
    heads = {"orgs": "org ", "causes": "cause ", "request_ids": "request id "}
    parts = [_either(head, which.get(name, ())) for name, head in heads.items()]
    return ", ".join(part for part in parts if part) or "all that waited"


def _held(hold: Mapping[str, Any], *, until: datetime) -> str:
    since = _read(hold.get("since"))
    long = "" if since is None else f" for {span(until - since)}"
    return f"was held{long}: {hold.get('comment') or hold.get('kind', '')}"


def _either(head: str, values: Iterable[object]) -> str:
    text = " or ".join(map(str, values))
    return f"{head}{text}" if text else ""


def _time(head: str, text: str) -> str:
    at = _read(text)
    return head + (text if at is None else moment(at)) if text else ""


def _read(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar, in units of the view box; ``number`` is which stretch of time it is for, from 0."""

    number: int
    count: int
    x: str
    y: int
    width: str
    height: int


def bars(counts: Sequence[int], *, width: int, height: int) -> list[Bar]:
    """Return one bar for each count that is not zero, from the left to the right.

    Args:
        counts: The counts.
        width: Of the whole, in units of the view box.
        height: Of the highest bar. One that is not zero is at least one unit high, to be seen.
    """
    highest, step = max(counts, default=0), width / max(len(counts), 1)
    heights = [max(1, round(height * count / highest)) if count else 0 for count in counts]
    return [
        Bar(number=number, count=count, x=f"{number * step:g}", y=height - high, width=f"{step * 0.8:g}", height=high)
        for number, (count, high) in enumerate(zip(counts, heights, strict=True))
        if count
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawView:
    """What a page shows of the bytes.

    Attributes:
        text: As text, or as a hexdump if they are no text.
        is_text: Which of the two.
        size: How many bytes there are.
        shown: How many of these are shown.
    """

    text: str
    is_text: bool
    size: int
    shown: int


def view_of(raw: bytes) -> RawView:
    """Return what a page shows of the raw message."""
    head = raw[:_SHOWN]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=len(raw) <= _SHOWN)
        is_text = clean(text, max_bytes=_SHOWN) == text.replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        text, is_text = "", False
    return RawView(text=text if is_text else _hexdump(head), is_text=is_text, size=len(raw), shown=len(head))


def _hexdump(raw: bytes) -> str:
    return "\n".join(_line(start, raw[start : start + _LINE]) for start in range(0, len(raw), _LINE))


def _line(start: int, part: bytes) -> str:
    characters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)  # noqa: PLR2004 - the printable characters of ASCII
    return f"{start:08x}  {part.hex(' '):<{3 * _LINE - 1}}  {characters}"


def counted(rows: int) -> str:
    """Return a number of rows that were counted up to `COUNTED`, and one more if there are more."""
    return f"{COUNTED:,}+" if rows > COUNTED else f"{rows:,}"
