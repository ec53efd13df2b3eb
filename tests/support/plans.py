"""Replay plans for tests: advanced by hand, step by step, at a time that the test says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.support.dead_letter_records import row_of, settle
from worker.clients.redis.partitions import Partitions
from worker.database.models import State
from worker.dead_letters.replays.planning import create
from worker.dead_letters.replays.queries import find, rows
from worker.dead_letters.replays.queue import LIST
from worker.dead_letters.replays.step import NextStep, advance
from worker.dead_letters.selection import Selection
from worker.policy.envelope import Envelope

if TYPE_CHECKING:
    import redis

    from worker.database.replay_models import RowState
    from worker.dead_letters.replays.queries import Plan
    from worker.dead_letters.replays.step import ReplayEnded, StepTaken
    from worker.dead_letters.store import DeadLetterStore

EVERYTHING = Selection()
LEASE = timedelta(seconds=20)


@dataclass
class Steps:
    """One who advances plans, with a clock that moves by as long as each step says to wait."""

    store: DeadLetterStore
    client: redis.Redis
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    partitions: Partitions | None = None
    """All of Redis, if it has several; else the client's is the only one."""

    def plan(self, selection: Selection = EVERYTHING, **options: Any) -> Plan:
        """Make a plan."""
        return create(self.store.engine, selection, actor="test", **options)

    def step(self, plan: Plan, step_number: int | None = None) -> NextStep | ReplayEnded | StepTaken:
        """Do the plan's next step, or that of a turn; the clock goes on to when the one after is due."""
        if step_number is None:
            step_number = self.look(plan).step_number
        partitions = self.partitions or Partitions([self.client])
        done = advance(
            self.store.engine, partitions, plan.id, step_number=step_number, now=lambda: self.time, lease=LEASE
        )
        if isinstance(done, NextStep):
            self.time += done.after
        return done

    def run(self, plan: Plan) -> Plan:
        """Do steps until the plan waits for outcomes, or has ended."""
        while isinstance(done := self.step(plan), NextStep):
            if done.waits:
                break
        return self.look(plan)

    def look(self, plan: Plan) -> Plan:
        """The plan as it is now."""
        return find(self.store.engine, plan.id)

    def states(self, plan: Plan) -> dict[int, RowState]:
        """What became of its rows, in their order."""
        return {row.dead_letter_id: row.state for row in rows(self.store.engine, plan.id, limit=1000)}

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What is in the queue, in the order in which a worker takes it."""
        return [json.loads(entry) for entry in reversed(self.client.lrange(LIST, 0, -1))]

    @property
    def envelopes(self) -> list[Envelope]:
        """What a worker reads from the messages' headers."""
        never = datetime.max.replace(tzinfo=UTC)
        headers = [message["headers"]["feedback"] for message in self.messages]
        return [Envelope.from_header(header, message_id="tag", received_at=never) for header in headers]

    @property
    def queued(self) -> list[int | None]:
        """The dead letters whose messages are in the queue."""
        return [envelope.dead_letter for envelope in self.envelopes]

    def deliver(self, *dead_letters: int) -> None:
        """Let their messages end as delivered, as a worker does; all that are in the queue if none is named."""
        for envelope in self.envelopes:
            row_id = envelope.dead_letter
            if row_id is None or (dead_letters and row_id not in dead_letters):
                continue
            if row_of(self.store, row_id).state is State.REPLAYING:
                settle(self.store, row_id, State.DELIVERED, replay=envelope.replay)
