"""Replay plans: dead letters go back into the queue, in the background, and each one's outcome is written down.

`create` freezes the rows in the database. Workers bring the plan forward step by step (`worker.replays.step`), and take
it up wherever it was left. What it does next is decided in `worker.replays.policy`.
"""

from worker.deadletters.plans import ReplayState, RowState
from worker.replays.attended import START_A_REPLAY_WORKER, Attended, attended
from worker.replays.creation import Count, Preview, create, preview
from worker.replays.deaths import DiedOf, died_of
from worker.replays.errors import NoSuchReplay, NothingToReplay, NotPossible, ReplayError
from worker.replays.queue import workers_watch
from worker.replays.reading import Plan, PlanRow, Progress, Replayed, count_left_dead, find, plans, replays_of, rows
from worker.replays.steering import cancel, pause, resume
from worker.replays.step import Again, OutOfTurn, Over, advance
from worker.replays.watch import overdue

__all__ = [
    "START_A_REPLAY_WORKER",
    "Again",
    "Attended",
    "Count",
    "DiedOf",
    "NoSuchReplay",
    "NotPossible",
    "NothingToReplay",
    "OutOfTurn",
    "Over",
    "Plan",
    "PlanRow",
    "Preview",
    "Progress",
    "ReplayError",
    "ReplayState",
    "Replayed",
    "RowState",
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
