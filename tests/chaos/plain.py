"""Plain Celery, for comparison: the same task and the same request, on Celery's own Redis transport.

It is set up as Celery's documentation recommends for tasks that must not be lost: acknowledged late, rejected when a
worker is lost, retried with backoff. The visibility timeout is 30 s instead of an hour, and what has timed out is
looked for every 10 s instead of every 100 s, so that a run ends.
"""

from __future__ import annotations

import os
import threading

import requests
from celery import Celery, Task

from producer.message import QUEUE, TASK
from tests.chaos.system import THREADS

__all__ = ["app"]

app = Celery("plain", broker=os.environ["FEEDBACK_BROKER_URL"])
app.conf.update(
    accept_content=["json"],
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_pool="threads",
    worker_concurrency=THREADS,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 30,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_keepalive": True,
    },
)

_sessions = threading.local()


def _session() -> requests.Session:
    if not hasattr(_sessions, "mine"):
        _sessions.mine = requests.Session()
        _sessions.mine.headers["X-AX-KEY"] = os.environ["AQUILAX_API_KEY"]
    session: requests.Session = _sessions.mine
    return session


@app.task(  # type: ignore[untyped-decorator]  # Celery is untyped
    name=TASK, bind=True, autoretry_for=(requests.RequestException,), retry_backoff=True, max_retries=None
)
def deliver(_task: Task, request_id: str, status: str, org: str, group: str, **_: str) -> None:
    """Send one event."""
    url = f"{os.environ['AQUILAX_BASE_URL']}/api/v2/ai/feedback/{request_id}/{status}"
    _session().get(url, params={"org": org, "group": group}, timeout=10).raise_for_status()
