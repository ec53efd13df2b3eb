"""The recipe for Django: rows of its model are carried by the relay, and those of a rolled back transaction are not."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url

from tests.support.commands import succeed
from tests.support.environment import clean_environment
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from tests.support.processes import RedisServer

ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
BACKEND = f"""
from django.db import connection, transaction
from examples.outbox_django import Answer, FeedbackOutbox, pressed

with connection.schema_editor() as schema:
    schema.create_model(Answer)
    schema.create_model(FeedbackOutbox)
Answer.objects.create(request_id="{ID}", org="o", group="g")
print(pressed("{ID}", True).occurred_at.isoformat())
try:
    with transaction.atomic():
        pressed("{ID}", False)
        raise LookupError
except LookupError:
    pass
assert Answer.objects.get().helpful is True
"""


def _for_django(url: str) -> dict[str, Any]:
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": address.database}
    where = {"HOST": address.query["host"], "USER": address.username, "PORT": str(address.port or "")}
    return {"ENGINE": "django.db.backends.postgresql", "NAME": address.database, **where}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_django_commits_is_carried(kind: str, request: pytest.FixtureRequest, valkey: RedisServer) -> None:
    """Django makes the table, and writes the rows."""
    url = request.getfixturevalue(f"{kind}_url")
    told = {"CHAT_DATABASE": json.dumps(_for_django(url))}
    backend = subprocess.run(
        [sys.executable, "-c", BACKEND],
        env=clean_environment() | told,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert backend.returncode == 0, backend.stderr

    environment = {"FEEDBACK_OUTBOX_URL": url, "FEEDBACK_BROKER_URL": valkey.url}
    assert succeed(environment, "relay", "--once") == "relayed 1, set aside 0\n"

    with valkey.client() as client:
        (message,) = client.lrange("feedback", 0, -1)
    assert json.loads(json.loads(message)["body"])[1] == {
        "request_id": ID,
        "status": "true",
        "org": "o",
        "group": "g",
        "occurred_at": backend.stdout.strip(),
    }
