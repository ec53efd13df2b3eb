"""What a run came to: what was acknowledged, what AquilaX and the dead-letter table have of it, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, select

from tests.chaos.load import event_of
from worker.database.models import DeadLetter
from worker.sandbox.received import GONE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from tests.chaos.gaps import Gaps
    from worker.sandbox.client import SandboxClient
    from worker.sandbox.received import Account

__all__ = ["Deliveries", "Outcome", "compare", "dead_request_ids", "examples"]

_SHOWN: Final = 5
_ASK_AGAIN: Final = {401, 408, 425, 429}
"""The statuses of the class 4xx after which an event is sent again."""


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    """What became of the events that Redis acknowledged.

    Attributes:
        lost: Request_ids that neither AquilaX nor the dead-letter table has.
        wrong: Request_ids for which AquilaX has another vote than the person's.
        repeated: Request_ids that AquilaX received more than once though no answer asked for it, and how much oftener.
    """

    lost: list[str]
    wrong: list[str]
    repeated: dict[str, int]


@dataclass(kw_only=True)
class Outcome:
    """The result of one run of one scenario.

    Attributes:
        scenario: Its name.
        server: The Redis, with its version.
        plain: Whether plain Celery was hurt, for comparison: it can't fail.
        events: Events that Redis acknowledged.
        dead: Of them, those that the dead-letter table has.
        faults: How often it was hurt.
        lost: Request_ids of events that are in no place any more, or that arrived as another vote than the person's.
        duplicates: Events that AquilaX received more often than its answers asked for.
        allowed: Events that were on their way to AquilaX at the moments of the faults: those may arrive twice.
        first: Seconds from the end of the last fault to the next delivery.
        drained: Seconds from there until nothing was queued, in flight or waiting.
        gaps: How long partitions of a cluster went without a delivery; None of one Redis.
        seconds: The whole run.
        failures: Why it failed, in words.
        notes: What else is worth knowing.
        folder: Where the logs are.
    """

    scenario: str
    server: str
    plain: bool = False
    events: int = 0
    dead: int = 0
    faults: int = 0
    lost: list[str] = field(default_factory=list)
    duplicates: int = 0
    allowed: int = 0
    first: float | None = None
    drained: float | None = None
    gaps: Gaps | None = None
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    folder: str = ""

    @property
    def failed(self) -> bool:
        """Whether something is wrong that ought not to be."""
        return bool(self.failures) and not self.plain

    def to_json(self) -> dict[str, Any]:
        """Return it with everything in it as JSON."""
        return {**asdict(self), "failed": self.failed}


def dead_request_ids(database: str) -> set[str]:
    """Return the request_ids that the dead-letter table has."""
    engine = create_engine(database)
    try:
        with engine.connect() as connection:
            return {found for found in connection.scalars(select(DeadLetter.request_id)) if found}
    finally:
        engine.dispose()


def compare(
    acknowledged: Collection[str],
    dead: Collection[str],
    sandbox: SandboxClient,
    *,
    gave_up: bool,
    words: Mapping[str, int],
) -> Deliveries:
    """Compare what Redis acknowledged with what AquilaX received and what the dead-letter table has.

    Args:
        acknowledged: Request_ids.
        dead: Request_ids that the dead-letter table has.
        sandbox: The local AquilaX.
        gave_up: Whether workers gave up waiting for answers, and so had reason to send again: a request whose sender
            hung up counts as a reception otherwise.
        words: How many words were said on a request_id, if more than one: each may arrive.
    """
    received = sandbox.received_by_request_id()
    lost = [each for each in acknowledged if each not in dead and not _delivered(received, each)]
    said = {each: event_of(each).status_text for each in acknowledged if _delivered(received, each)}
    repeated = {}
    for account in received.values():
        right = words.get(account.request_id, 1)
        if account.received > right:
            right += _asked_for(account, sandbox, gave_up=gave_up)
        if account.received > right:
            repeated[account.request_id] = account.received - right
    return Deliveries(
        lost=lost,
        wrong=[each for each, word in said.items() if received[each].status != word],
        repeated=repeated,
    )


def examples(request_ids: Iterable[str]) -> str:
    """The first few of them."""
    named = list(request_ids)
    return ", ".join(named[:_SHOWN]) + (f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")


def _delivered(received: Mapping[str, Account], request_id: str) -> bool:
    account = received.get(request_id)
    return account is not None and account.delivered > 0


def _asked_for(account: Account, sandbox: SandboxClient, *, gave_up: bool) -> int:
    """How many of its requests got an answer that asks for another one."""
    if account.received == account.delivered:
        return 0
    recent = sandbox.received_for(account.request_id).recent
    asked_for = sum(1 for each in recent if not _is_final(each.answer) and (gave_up or each.answer != GONE))
    return asked_for + account.received - len(recent)  # of what is no longer listed, all but one asked for more


def _is_final(answer: object) -> bool:
    """Taken, or refused for good."""
    return isinstance(answer, int) and answer // 100 in {2, 4} and answer not in _ASK_AGAIN
