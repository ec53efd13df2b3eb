"""Which address leads where. All of it is under ``/feedback`` and ``/api/feedback``, where Flower has nothing."""

from __future__ import annotations

from typing import Final

from tornado.web import StaticFileHandler, url

from worker.operations.cause_decisions import Verb
from worker.operations.dashboard import api, attention_api, cause_api
from worker.operations.dashboard.action_views import DiscardForm, DiscardPage, ReplayForm
from worker.operations.dashboard.cause_views import CausePage, CausesPage, DecisionPage
from worker.operations.dashboard.dead_letter_views import RawFile, RowPage, RowsPage
from worker.operations.dashboard.export_views import FORMATS, ExportApi, ExportFile
from worker.operations.dashboard.fleet_views import WorkerActApi, WorkerForm, WorkersApi, WorkersPage
from worker.operations.dashboard.history_api import HistoryApi
from worker.operations.dashboard.history_views import HistoryPage
from worker.operations.dashboard.overview_views import HoldPage, OverviewPage, ResumePage
from worker.operations.dashboard.page import STATIC
from worker.operations.dashboard.replay_views import AuditPage, ReplayPage, ReplaysPage, SteerPage
from worker.operations.dashboard.trace_views import TracePage
from worker.operations.dashboard.waiting_views import WaitingActionPage, WaitingForm, WaitingPage
from worker.operations.workers.control import WorkerAction

__all__ = ["ROUTES"]

_ID: Final = "([0-9]{1,18})"
"""As many digits as a number of any table may have."""

_FINGERPRINT: Final = "([0-9a-f]{12})"

_VERB: Final = f"({'|'.join(Verb)})"
"""What can be done with a cause."""
_WORKER_ACTION: Final = f"({'|'.join(WorkerAction)})"

_FORMAT: Final = f"({'|'.join(FORMATS)})"

_PAGES: Final = (
    url(r"/feedback", OverviewPage, name="feedback-overview"),
    url(r"/feedback/trace", TracePage, name="feedback-trace"),
    url(r"/feedback/history", HistoryPage, name="feedback-history"),
    url(r"/feedback/hold", HoldPage, name="feedback-hold"),
    url(r"/feedback/resume", ResumePage, name="feedback-resume"),
    url(r"/feedback/dead-letters", CausesPage, name="feedback-causes"),
    url(r"/feedback/dead-letters/rows", RowsPage, name="feedback-rows"),
    url(r"/feedback/dead-letters/replay", ReplayForm, name="feedback-replay"),
    url(r"/feedback/dead-letters/discard", DiscardForm, name="feedback-discard"),
    url(rf"/feedback/dead-letters/export\.{_FORMAT}", ExportFile, name="feedback-export"),
    url(rf"/feedback/dead-letters/{_ID}", RowPage, name="feedback-row"),
    url(rf"/feedback/dead-letters/{_ID}/raw", RawFile, name="feedback-raw"),
    url(rf"/feedback/causes/{_FINGERPRINT}", CausePage, name="feedback-cause"),
    url(rf"/feedback/causes/{_FINGERPRINT}/{_VERB}", DecisionPage, name="feedback-decide"),
    url(rf"/feedback/discards/{_ID}", DiscardPage, name="feedback-discarding"),
    url(r"/feedback/replays", ReplaysPage, name="feedback-replays"),
    url(rf"/feedback/replays/{_ID}", ReplayPage, name="feedback-replay-plan"),
    url(rf"/feedback/replays/{_ID}/(pause|resume|cancel)", SteerPage, name="feedback-steer"),
    url(r"/feedback/waiting", WaitingPage, name="feedback-waiting"),
    url(r"/feedback/waiting/(send-now|dead-letter)", WaitingForm, name="feedback-waiting-act"),
    url(rf"/feedback/waiting/actions/{_ID}", WaitingActionPage, name="feedback-waiting-action"),
    url(r"/feedback/workers", WorkersPage, name="feedback-workers"),
    url(rf"/feedback/workers/{_WORKER_ACTION}", WorkerForm, name="feedback-worker-act"),
    url(r"/feedback/audit", AuditPage, name="feedback-audit"),
    url(r"/feedback/static/([a-z]+[.][a-z]+)", StaticFileHandler, {"path": str(STATIC)}, name="feedback-static"),
)

_API: Final = (
    url(r"/api/feedback/overview", api.OverviewApi),
    url(r"/api/feedback/trace/([^/]{1,60})", api.TraceApi),
    url(r"/api/feedback/history", HistoryApi),
    url(r"/api/feedback/hold", api.HoldApi),
    url(r"/api/feedback/resume", api.ResumeApi),
    url(r"/api/feedback/causes", cause_api.CausesApi),
    url(rf"/api/feedback/causes/{_FINGERPRINT}", cause_api.CauseApi),
    url(rf"/api/feedback/causes/{_FINGERPRINT}/{_VERB}", cause_api.DecisionApi),
    url(r"/api/feedback/dead-letters", api.DeadLettersApi),
    url(rf"/api/feedback/dead-letters/export\.{_FORMAT}", ExportApi),
    url(rf"/api/feedback/dead-letters/{_ID}", api.DeadLetterApi),
    url(r"/api/feedback/preview/(replay|discard)", api.PreviewApi),
    url(r"/api/feedback/replays", api.ReplaysApi),
    url(rf"/api/feedback/replays/{_ID}", api.ReplayApi),
    url(rf"/api/feedback/replays/{_ID}/(pause|resume|cancel)", api.SteerApi),
    url(r"/api/feedback/discards", api.DiscardsApi),
    url(rf"/api/feedback/discards/{_ID}", api.DiscardApi),
    url(r"/api/feedback/audit", api.AuditApi),
    url(r"/api/feedback/workers", WorkersApi),
    url(rf"/api/feedback/workers/{_WORKER_ACTION}", WorkerActApi),
    url(r"/api/feedback/waiting", attention_api.WaitingApi),
    url(r"/api/feedback/waiting/(send-now|dead-letter)", attention_api.WaitingActApi),
    url(rf"/api/feedback/waiting/actions/{_ID}", attention_api.WaitingActionApi),
)

ROUTES: Final = (*_PAGES, *_API)
