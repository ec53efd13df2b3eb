"""Whether replays that have not ended are brought forward: a worker has to consume the queue of their steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from producer.message import QUEUE
from worker.database.errors import translated
from worker.database.replay_models import ACTIVE, Replay, ReplayState
from worker.dead_letters.replays.queue import REPLAYS, workers_watch

if TYPE_CHECKING:
    import redis
    from sqlalchemy import Engine

__all__ = ["START_A_REPLAY_WORKER", "Attended", "attended"]

START_A_REPLAY_WORKER: Final = f"start a worker without -Q, or with -Q {QUEUE},{REPLAYS}; replays go on by themselves"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attended:
    """How many replays have not ended, and whether a worker is at them.

    Attributes:
        active: Those that have not ended.
        paused: Those of them that an operator has paused.
        watched: Whether a worker consumes the queue of their steps.
    """

    active: int
    paused: int
    watched: bool

    @property
    def problem(self) -> str:
        """What is wrong; '' if nothing is."""
        wait = self.active - self.paused
        return "" if self.watched or not wait else f"no worker consumes {REPLAYS}: {wait:,} replays wait for one"

    @property
    def fix(self) -> str:
        """What to do about it."""
        return START_A_REPLAY_WORKER if self.problem else ""

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return asdict(self) | {"problem": self.problem or None, "fix": self.fix or None}


def attended(engine: Engine, client: redis.Redis) -> Attended:
    """Look at the replays that have not ended.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
        redis.RedisError: Redis is unavailable, or refuses.
    """
    of_state = func.count().label("number")
    active = (Replay.closed_at.is_(None), Replay.state.in_(ACTIVE))
    query = select(Replay.state, of_state).where(*active).group_by(Replay.state)
    with translated(), engine.connect() as connection:
        states = {row.state: row.number for row in connection.execute(query)}
    watched = not states or workers_watch(client)
    return Attended(active=sum(states.values()), paused=states.get(ReplayState.PAUSED, 0), watched=watched)
