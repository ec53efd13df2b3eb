"""Replay plans: dead letters go back into the queue, in the background, and each one's outcome is written down.

`create` freezes the rows in the database. Workers advance the plan step by step (`step.py`), and
resume it wherever it was left. `policy.py` decides the next step.
"""

from worker.database.replay_models import ReplayState, RowState
from worker.dead_letters.replays.advancer import overdue
from worker.dead_letters.replays.attendance import START_A_REPLAY_WORKER, Attended, attended
from worker.dead_letters.replays.errors import NoSuchReplay, NothingToReplay, NotPossible, ReplayError
from worker.dead_letters.replays.failures import FailureCount, died_of
from worker.dead_letters.replays.lifecycle import cancel, pause, resume
from worker.dead_letters.replays.planning import Preview, PreviewCount, create, preview
from worker.dead_letters.replays.queries import (
    Plan,
    PlanRow,
    Progress,
    Replayed,
    count_left_dead,
    find,
    plans,
    replays_of,
    rows,
)
from worker.dead_letters.replays.queue import workers_watch
from worker.dead_letters.replays.step import NextStep, ReplayEnded, StepTaken, advance

__all__ = [
    "START_A_REPLAY_WORKER",
    "Attended",
    "FailureCount",
    "NextStep",
    "NoSuchReplay",
    "NotPossible",
    "NothingToReplay",
    "Plan",
    "PlanRow",
    "Preview",
    "PreviewCount",
    "Progress",
    "ReplayEnded",
    "ReplayError",
    "ReplayState",
    "Replayed",
    "RowState",
    "StepTaken",
    "advance",
    "attended",
    "cancel",
    "count_left_dead",
    "create",
    "died_of",
    "find",
    "overdue",
    "pause",
    "plans",
    "preview",
    "replays_of",
    "resume",
    "rows",
    "workers_watch",
]
