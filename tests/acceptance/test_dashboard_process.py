"""The dashboard in a Flower process, started as an operator starts it, with options of Flower's."""

from __future__ import annotations

import os
import re
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import requests

from tests.support.dead_letter_records import a_record, add
from tests.support.environment import clean_environment
from tests.support.flower import Visitor
from tests.support.processes import eventually, running
from tests.support.sandbox import PROGRAM
from worker.database.audit_log import actions
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import RedisServer

CELERY = [sys.executable, "-m", "celery", "-A", "worker", "flower"]


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthcheck", timeout=5).ok
    except requests.ConnectionError:
        return False


_ASKED = {"/feedback/waiting/send-now": "?all=1", "/feedback/waiting/dead-letter": "?all=1"}
"""What these pages are asked of: without it nothing is chosen, which they refuse."""


@pytest.mark.parametrize("command", [CELERY, [PROGRAM, "flower"]], ids=["celery", "aquilax-feedback"])
def test_behind_a_prefix_and_a_password_everything_works(
    command: list[str], valkey: RedisServer, sqlite_url: str, tmp_path: Path
) -> None:
    """Every link, every form and every file of ours stays below the prefix."""
    upgrade(sqlite_url)
    port = free_port()
    options = [f"--port={port}", "--url_prefix=ops/flower", "--basic-auth=ann:secret", f"--db={tmp_path}/flower"]
    environment = clean_environment() | {"FEEDBACK_BROKER_URL": valkey.url, "FEEDBACK_DATABASE_URL": sqlite_url}
    url = f"http://127.0.0.1:{port}/ops/flower"
    with (
        closing(DeadLetterStore.connect(sqlite_url)) as store,
        running([*command, *options], log=tmp_path / "flower.log", env=environment) as flower,
    ):
        add(store, a_record())
        eventually(lambda: _answers(url), what=f"Flower answers; see {flower.log}")
        assert requests.get(f"{url}/feedback", timeout=5).status_code == 401
        visitor = Visitor(url, auth=("ann", "secret"))
        seen, waiting = set[str](), ["/tasks", "/feedback", "/feedback/dead-letters/1"]
        while waiting:
            path = waiting.pop()
            seen.add(path)
            answer = visitor.get(f"{path}{_ASKED.get(path, '')}")
            assert answer.status_code == 200, path
            links = re.findall(r'(?:href|src|action|formaction)="(/[^"]*)"', answer.text)
            assert all(link.startswith("/ops/flower") for link in links), (path, links)
            ours = {link.removeprefix("/ops/flower").partition("?")[0] for link in links if "/feedback" in link}
            waiting += ours - seen - {"/feedback/hold", "/feedback/resume"} - set(waiting)
        assert {"/feedback/static/dashboard.js", "/feedback/dead-letters/replay", "/feedback/audit"} <= seen
        origin = {"Origin": f"http://127.0.0.1:{port}"}
        sent = visitor.send("/feedback/hold", headers=origin, comment="so")
        assert sent.headers["Location"] == "/ops/flower/feedback"
        assert [action.actor for action in actions(store.engine)] == ["ann"]
    assert "Traceback" not in flower.output()


def test_another_apps_flower_has_no_tab_of_ours(tmp_path: Path, valkey: RedisServer) -> None:
    """The environment may have other Celery apps: their Flower stays as it is."""
    (tmp_path / "elsewhere.py").write_text(f"from celery import Celery\n\napp = Celery(broker={valkey.url!r})\n")
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", "elsewhere", "flower", "--address=127.0.0.1", f"--port={port}"]
    environment = dict(os.environ) | {"PYTHONPATH": str(tmp_path)}
    with running([*command, f"--db={tmp_path}/flower"], log=tmp_path / "flower.log", env=environment, cwd=tmp_path):
        eventually(lambda: _answers(f"http://127.0.0.1:{port}"), what="Flower answers")
        assert "feedback" not in requests.get(f"http://127.0.0.1:{port}/", timeout=30).text
        assert requests.get(f"http://127.0.0.1:{port}/feedback", timeout=30).status_code == 404
