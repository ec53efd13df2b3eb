"""A filter that is empty, odd or misspelt is refused in words, by every road to the dead letters."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from tests.support.dead_letter_records import a_record, add, an_event, rows_of
from tests.support.flower import ServedFlower, served_flower
from worker.database.audit_log import actions
from worker.database.models import State
from worker.database.schema import upgrade
from worker.dead_letters.replays.queries import plans
from worker.dead_letters.store import DeadLetterStore
from worker.operations.cli import main
from worker.operations.dashboard.filters import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer

API = {"X-Requested-With": "a test", "Content-Type": "application/json"}

BLANKS = ["", " ", "\t", [], [""], [1, ""], None]
ODD = [True, False, 1.5, 1e400, -1, 0, 2**63, 10**400, {}, {"a": 1}, [[]], [None], "\ud800", "a\u0000b", "x" * 201]
NO_NUMBER = ["๑๒", "²", "+7", "-1", "1_0", "1e2", "nan", "0x7", "9" * 5000, str(2**63)]
NO_TIME = ["yesterday", "๑h", "99999999w", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30"]
WRONG = (
    [(name, value) for name in NAMES for value in BLANKS]
    + [(name, value) for name in NAMES for value in ODD if not (name in {"org", "group", "fingerprint"} and value == 0)]
    + [(name, value) for name in ("id", "http_status") for value in NO_NUMBER]
    + [(name, value) for name in ("since", "until") for value in NO_TIME]
    + [("request_id", "๗7e81bbc-3e7f-47b9-87fa-681b5d2f54e6"), ("reason", "bad"), ("state", "gone")]
    + [("expected", value) for value in ("", " ", None, True, -1, 1.5, "๑", "9" * 5000)]
    + [("orgs", "x"), ("State", "dead"), ("", "x"), ("comment", ["so"]), ("comment", " ")]
)


@pytest.fixture
def store(sqlite_url: str) -> Iterator[DeadLetterStore]:
    """Two dead letters, which must stay as they are; in SQLite, which would take most of what must not reach it."""
    upgrade(sqlite_url)
    with closing(DeadLetterStore.connect(sqlite_url)) as store:
        add(store, a_record())
        add(store, a_record(an_event(org="org-2")))
        yield store


@pytest.fixture
def flower(store: DeadLetterStore, valkey: RedisServer) -> Iterator[ServedFlower]:
    """Flower on loopback, without a login."""
    url = store.engine.url.render_as_string(hide_password=False)
    with served_flower(broker_url=valkey.url, database_url=url) as flower:
        yield flower


def untouched(store: DeadLetterStore) -> bool:
    """Whether nothing has been changed."""
    return (
        {row.state for row in rows_of(store)} == {State.DEAD} and not plans(store.engine) and not actions(store.engine)
    )


def test_the_api_refuses_every_field_that_it_can_not_mean(flower: ServedFlower, store: DeadLetterStore) -> None:
    """In a document: 400, with the name of the field."""
    for path in ("/api/feedback/discards", "/api/feedback/replays"):
        for name, value in WRONG:
            answer = flower.post(path, data=json.dumps({"comment": "so"} | {name: value}), headers=API)
            assert answer.status_code == 400, (name, value, answer.text)
            assert name in answer.json()["error"] or "JSON" in answer.json()["error"], (name, value, answer.text)
        for name, value in [
            ("rate", ""),
            ("rate", "๕"),
            ("rate", "nan"),
            ("rate", 0),
            ("canary", 2**63),
            ("canary", "1_0"),
        ]:
            answer = flower.post("/api/feedback/replays", data=json.dumps({"comment": "so", name: value}), headers=API)
            assert (answer.status_code, name in answer.json()["error"]) == (400, True), (name, value)
        misplaced = flower.post(f"{path}?org=org-2", data='{"comment": "so"}', headers=API)
        assert misplaced.status_code == 400
    assert untouched(store)


def test_the_api_refuses_what_an_address_can_not_mean(flower: ServedFlower) -> None:
    """Also where rows are only looked at: a program that sent an empty filter would take all rows for some."""
    lists = ("causes", "dead-letters", "preview/replay", "preview/discard")
    wrong = [f"{name}={blank}" for name in NAMES for blank in ("", "%20", "%00", "&org=org-1")]
    wrong += [f"{name}={quote(value)}" for name in ("id", "http_status") for value in NO_NUMBER]
    wrong += [f"since={quote(value)}" for value in NO_TIME]
    wrong += ["orgs=x", "org=%ED%A0%80", "org=a&org="]
    for path in lists:
        for query in wrong:
            answer = flower.get(f"/api/feedback/{path}?{query}")
            assert answer.status_code == 400, (path, query, answer.text)
    places = [
        f"place=after_{row}_{value}" for row, value in (("1", "9" * 30), ("9" * 30, "1"), ("๑", "1"), ("1", "-1"))
    ]
    places += ["place=after_1_0001-01-01T00:00:00%2B14:00", "order=x"]
    for query in [f"order=attempts&{place}" for place in places[:4]] + places[4:]:
        assert flower.get(f"/api/feedback/dead-letters?{query}").status_code == 400, query
    for query in (
        "limit=0",
        "limit=501",
        "limit=",
        "limit=๑",
        f"limit={'9' * 5000}",
        f"before={'9' * 5000}",
        "before=๑",
    ):
        assert flower.get(f"/api/feedback/audit?{query}").status_code == 400, query
        assert flower.get(f"/api/feedback/replays?{query}").status_code == 400, query


def test_a_page_that_acts_refuses_an_empty_filter_and_one_that_shows_takes_it_for_none(
    flower: ServedFlower, store: DeadLetterStore
) -> None:
    """The filters' form sends all its fields, also empty ones; the preview of an action never does."""
    visitor = flower.session()
    for name in NAMES:
        for page in ("", "/rows"):
            assert flower.get(f"/feedback/dead-letters{page}?{name}=&org=org-1").status_code == 200
        for action in ("replay", "discard"):
            path = f"/feedback/dead-letters/{action}"
            assert flower.get(f"{path}?{name}=").status_code == 400
            answer = visitor.send(path, comment="so", expected="2", headers=None, **{name: " "})
            assert (answer.status_code, f"{name} is empty" in answer.text) == (400, True), name
    for action in ("replay", "discard"):
        path = f"/feedback/dead-letters/{action}"
        assert "no row is ticked" in flower.get(f"{path}?ticked=1").text
        assert flower.get(f"{path}?orgs=x").status_code == 400
        for fields in ({"orgs": "x"}, {"expected": ""}, {"expected": "๒"}, {"expected": "9" * 5000}, {"id": "๑"}):
            assert (
                visitor.send(path, headers=None, **({"comment": "so", "expected": "2"} | fields)).status_code == 400
            ), fields
        assert visitor.send(f"{path}?org=org-2", comment="so", expected="2").status_code == 400
        assert visitor.send(path, comment="so").status_code == 400
    assert flower.get("/feedback/dead-letters?orgs=x").status_code == 400
    assert untouched(store)


_FILTERS = {
    "--org": ["", " ", "\udcff", "a\x00b"],
    "--group": ["", "\t"],
    "--fingerprint": ["", " "],
    "--request-id": ["", "x", "๗7e81bbc-3e7f-47b9-87fa-681b5d2f54e6"],
    "--reason": ["", "x"],
    "--state": ["", "x"],
    "--http-status": ["", "๔๔๔", "4_04", "+404", "nan", "9" * 5000],
    "--since": ["", *NO_TIME],
    "--until": ["", " "],
    "--limit": ["", "0", "๑", "9" * 5000, str(2**63)],
}


def test_the_command_line_refuses_every_value_that_it_can_not_mean(
    store: DeadLetterStore, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit status 2 and the option's name; never with a traceback."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", store.engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("FEEDBACK_BROKER_URL", valkey.url)
    commands = (["list"], ["export"], ["replay", "--yes"], ["discard", "--yes", "--comment", "so"])
    wrong = [(command, option, value) for command in commands for option in _FILTERS for value in _FILTERS[option]]
    wrong += [(["replay", "--yes"], "--rate", value) for value in ("nan", "inf", "1_0", "๑", "0")]
    wrong += [(["replay", "--yes"], "--canary", value) for value in ("-1", "๑", str(2**31))]
    wrong += [(["discard", "--yes"], "--comment", value) for value in ("", " ")]
    for command, option, value in wrong:
        ended = CliRunner().invoke(main, ["dead-letters", *command, option, value])
        assert (ended.exit_code, option in ended.stderr) == (2, True), (command, option, value, ended.output)
    for arguments in (["dead-letters", "show", "\udcff"], ["replays", "show", "9" * 30], ["replays", "pause", "๑"]):
        assert CliRunner().invoke(main, arguments).exit_code == 2, arguments
    assert CliRunner().invoke(main, ["dead-letters", "show", "9" * 5000]).exit_code in {1, 2}
    assert untouched(store)
