"""Looking at plans: one, the latest, and their rows.

Every function here that takes an engine raises `DeadLetterStoreUnavailable` if the database is unavailable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Subquery, and_, func, select, union_all

from worker.database.errors import translated
from worker.database.models import DeadLetter, State
from worker.database.replay_models import ACTIVE, OPEN, Replay, ReplayRow, ReplayState, RowState
from worker.dead_letters.lookups import by_no_index
from worker.dead_letters.replays.errors import NoSuchReplay

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection, Engine, Row

__all__ = [
    "Plan",
    "PlanRow",
    "Progress",
    "Replayed",
    "count_left_dead",
    "find",
    "plans",
    "read_plan",
    "replays_of",
    "rows",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many rows of a plan are in each state; see `RowState`."""

    waiting: int = 0
    sending: int = 0
    enqueued: int = 0
    delivered: int = 0
    dead: int = 0
    discarded: int = 0
    refused: int = 0
    skipped: int = 0
    lost: int = 0

    @property
    def gone(self) -> int:
        """How many went into the queue."""
        return self.enqueued + self.delivered + self.dead + self.discarded + self.lost

    @property
    def left_out(self) -> int:
        """How many had nothing to send when their turn came."""
        return self.refused + self.skipped

    @property
    def settled(self) -> int:
        """How many have their outcome."""
        return self.delivered + self.dead + self.discarded + self.lost + self.left_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A replay plan as it is just now; the fields are those of `worker.database.replay_models.Replay`."""

    id: int
    state: ReplayState
    selection: Mapping[str, Any]
    rate: float | None
    canary: int
    canary_until: int
    set_org: str | None
    set_group: str | None
    total: int
    elsewhere: int
    invalid: int
    actor: str
    comment: str
    stopped_because: str
    created_at: datetime
    begins_at: datetime | None
    started_at: datetime | None
    canary_passed_at: datetime | None
    moved_at: datetime | None
    ended_at: datetime | None
    step_number: int
    progress: Progress

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ACTIVE

    @property
    def is_scheduled(self) -> bool:
        """Whether it has yet to begin, at a time that an operator gave."""
        return self.begins_at is not None and self.started_at is None and self.is_active

    @property
    def left(self) -> timedelta | None:
        """How long it takes at least until all rows are enqueued; None if it has no rate."""
        to_go = self.progress.waiting + self.progress.sending
        return None if self.rate is None or not self.is_active else timedelta(seconds=to_go / self.rate)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it. Programs of others read it: add, don't rename."""
        record = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _INSIDE}
        record |= {name: value.isoformat() for name, value in record.items() if isinstance(value, datetime)}
        progress = {field.name: getattr(self.progress, field.name) for field in fields(self.progress)}
        return record | {"state": self.state.value, "progress": progress}


_NONE: Final = "there is no replay {}"

_INSIDE: Final = {"canary_until", "step_number", "progress"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One row of a plan.

    Attributes:
        dead_letter_id: The dead letter.
        position: Its place in the order in which rows go.
        is_canary: Whether it goes before the rest.
        state: What has become of it.
        comment: The cause of a state that is not the usual one.
        fingerprint: What it had died of when it was chosen: a fingerprint.
        changed_at: When its state changed last.
        request_id: The answer that the feedback is for; None if the dead letter is gone, as the next two.
        org: The organization.
        summary: What it died of last, as text.
        fingerprint_now: The same as a fingerprint: not `cause` if it has died of something else since.
    """

    dead_letter_id: int
    position: int
    is_canary: bool
    state: RowState
    comment: str
    fingerprint: str
    changed_at: datetime | None
    request_id: str | None
    org: str | None
    summary: str | None
    fingerprint_now: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One dead letter's part in one plan; the fields are those of `PlanRow`, and which plan, and how that stands."""

    replay_id: int
    plan_state: ReplayState
    state: RowState
    comment: str
    changed_at: datetime | None

    @property
    def was_left(self) -> bool:
        """Whether it was not sent, and will not be: its turn had not come when the plan ended."""
        return self.state is RowState.WAITING and self.plan_state not in ACTIVE

    @property
    def is_open(self) -> bool:
        """Whether the plan goes on and the row's outcome is to come: no other plan takes it until then."""
        return self.state in OPEN and self.plan_state in ACTIVE


def find(engine: Engine, replay_id: int) -> Plan:
    """Return a plan.

    Raises:
        NoSuchReplay: There is none of this number.
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    with translated(), engine.connect() as connection:
        return read_plan(connection, replay_id)


def read_plan(connection: Connection, replay_id: int) -> Plan:
    """As `find`, in a transaction."""
    row = connection.execute(select(Replay).where(Replay.id == replay_id)).first()
    if row is None:
        raise NoSuchReplay(_NONE.format(replay_id))
    return _plan(row, _progress(connection, [replay_id]))


def plans(engine: Engine, *, limit: int = 20, before: int | None = None, active: bool = False) -> list[Plan]:
    """Return the latest plans, the newest first.

    Args:
        engine: The database.
        limit: How many at most.
        before: Those with a lower id only: the page after the one that ended with it.
        active: Those that have not ended only.
    """
    query = select(Replay).order_by(Replay.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Replay.id < before)
    if active:
        query = query.where(Replay.closed_at.is_(None), Replay.state.in_(ACTIVE))
    with translated(), engine.connect() as connection:
        found = connection.execute(query).all()
        progress = _progress(connection, [row.id for row in found])
        return [_plan(row, progress) for row in found]


def rows(
    engine: Engine, replay_id: int, *, states: tuple[RowState, ...] = (), after: int = -1, limit: int = 50
) -> list[PlanRow]:
    """Return rows of a plan in the order in which they go.

    Args:
        engine: The database.
        replay_id: The plan.
        states: Those in one of these states only; any if there is none.
        after: Those behind this position only: the page after the one that ended with it.
        limit: How many at most.

    Raises:
        NoSuchReplay: There is none of this number.
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    own = (ReplayRow.dead_letter_id, ReplayRow.position, ReplayRow.state, ReplayRow.comment, ReplayRow.fingerprint)
    now = (DeadLetter.request_id, DeadLetter.org, DeadLetter.summary, DeadLetter.fingerprint.label("fingerprint_now"))
    page = _page(replay_id, states or tuple(RowState), after=after, limit=limit)
    its_row = (ReplayRow.replay_id == replay_id, ReplayRow.dead_letter_id == page.c.dead_letter_id)
    query = (
        select(*own, ReplayRow.changed_at, *now)
        .join_from(page, ReplayRow, and_(*its_row))
        .outerjoin(DeadLetter, DeadLetter.id == ReplayRow.dead_letter_id)
        .order_by(page.c.position)
    )
    with translated(), engine.connect() as connection:
        plan = connection.execute(select(Replay.canary, Replay.canary_until).where(Replay.id == replay_id)).first()
        if plan is None:
            raise NoSuchReplay(_NONE.format(replay_id))
        canaries = plan.canary_until if plan.canary else 0
        return [PlanRow(is_canary=row.position < canaries, **row._asdict()) for row in connection.execute(query)]


def _page(replay_id: int, states: Iterable[RowState], *, after: int, limit: int) -> Subquery:
    """The next rows of a plan, from the next of each state: in the order of an index, which has the state first."""
    next_of_each = (
        select(ReplayRow.dead_letter_id, ReplayRow.position)
        .where(ReplayRow.replay_id == replay_id, ReplayRow.state == state, ReplayRow.position > after)
        .order_by(ReplayRow.position)
        .limit(limit)
        .subquery()
        for state in dict.fromkeys(states)
    )
    several = union_all(*(select(each) for each in next_of_each)).subquery()
    return select(several).order_by(several.c.position).limit(limit).subquery()


def count_left_dead(engine: Engine, replay_id: int, *, most: int | None = None) -> int:
    """Return how many rows of a plan were not sent, and are dead.

    Args:
        engine: The database.
        replay_id: The plan.
        most: Where there are more than this, it says one more than this, and the others are not counted.
    """
    left = (
        ReplayRow.replay_id == replay_id,
        ReplayRow.state == RowState.WAITING,
        by_no_index(DeadLetter.state == State.DEAD),
    )
    ids = select(DeadLetter.id).join_from(ReplayRow, DeadLetter, DeadLetter.id == ReplayRow.dead_letter_id).where(*left)
    some = ids if most is None else ids.limit(most + 1)
    with translated(), engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(some.subquery())) or 0


def replays_of(engine: Engine, dead_letter_id: int) -> list[Replayed]:
    """Return a dead letter's part in every plan that had it, the latest first."""
    query = (
        select(
            ReplayRow.replay_id,
            Replay.state.label("plan_state"),
            ReplayRow.state,
            ReplayRow.comment,
            ReplayRow.changed_at,
        )
        .join(Replay, Replay.id == ReplayRow.replay_id)
        .where(ReplayRow.dead_letter_id == dead_letter_id)
        .order_by(ReplayRow.replay_id.desc())
    )
    with translated(), engine.connect() as connection:
        return [Replayed(**row._asdict()) for row in connection.execute(query)]


def _progress(connection: Connection, ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """Count the rows of plans by their states: each is one range of an index, which is counted faster than grouped."""
    of_plan = select(func.count()).select_from(ReplayRow).where(ReplayRow.replay_id == Replay.id)
    counts = (of_plan.where(ReplayRow.state == state).scalar_subquery().label(state.value) for state in RowState)
    found = connection.execute(select(Replay.id, *counts).where(Replay.id.in_(list(ids))))
    return {replay_id: dict(zip(map(str, RowState), numbers, strict=True)) for replay_id, *numbers in found}


def _plan(row: Row[Any], progress: Mapping[int, Mapping[str, int]]) -> Plan:
    own = {
        field.name: getattr(row, field.name) for field in fields(Plan) if field.name not in {"selection", "progress"}
    }
    return Plan(**own, selection=json.loads(row.selection), progress=Progress(**progress.get(row.id, {})))
