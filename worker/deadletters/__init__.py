"""The dead-letter table: what can't be delivered is buried here, inspected, and replayed."""

from worker.deadletters.actions import OperatorAction
from worker.deadletters.burial import (
    Burial,
    burial_of_unreadable,
    key_of_event,
    key_of_event_without_time,
    key_of_message,
    key_of_raw,
)
from worker.deadletters.errors import (
    DatabaseUnusable,
    DeadLetterError,
    DeadLetterStoreUnavailable,
    SchemaError,
    SchemaMissing,
    SchemaOutdated,
    SchemaTooNew,
)
from worker.deadletters.generations import OperatorHold, RedisGeneration
from worker.deadletters.model import DeadLetter, State
from worker.deadletters.plans import Replay, ReplayRow, ReplayState, RowState
from worker.deadletters.schema import check_schema, downgrade, upgrade
from worker.deadletters.store import DeadLetterStore

__all__ = [
    "Burial",
    "DatabaseUnusable",
    "DeadLetter",
    "DeadLetterError",
    "DeadLetterStore",
    "DeadLetterStoreUnavailable",
    "OperatorAction",
    "OperatorHold",
    "RedisGeneration",
    "Replay",
    "ReplayRow",
    "ReplayState",
    "RowState",
    "SchemaError",
    "SchemaMissing",
    "SchemaOutdated",
    "SchemaTooNew",
    "State",
    "burial_of_unreadable",
    "check_schema",
    "downgrade",
    "key_of_event",
    "key_of_event_without_time",
    "key_of_message",
    "key_of_raw",
    "upgrade",
]
