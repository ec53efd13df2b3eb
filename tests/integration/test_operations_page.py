"""The session on the page for operators, typed in as it stands there: every command prints what the page says."""

from __future__ import annotations

import json
import re
import shlex
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, update

from tests.support.commands import typed
from tests.support.processes import ROOT, eventually
from worker.database.models import DeadLetter, State
from worker.dead_letters.store import DeadLetterStore
from worker.sandbox.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "docs" / "operations.md").read_text()
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+\+00:00)?")
WAITED = re.compile(r"\([\d,]+ ms, [^)]+\)")

PRESSES = [
    {
        "request_id": str(uuid.uuid5(uuid.UUID(int=0), str(number))),
        "status": "true" if number % 3 else "false",
        "org": "65dd3e835a669e3347654200" if number % 4 else "org-not-ours",
        "group": "67e86d036e9921509f730483",
    }
    for number in range(12)
]
UNKNOWN = [PRESSES[2]["request_id"], PRESSES[5]["request_id"]]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A system whose AquilaX refuses three presses as forbidden and two as unknown, one after the other."""
    (tmp_path / "presses.ndjson").write_text(
        "\n".join(map(json.dumps, [*PRESSES, PRESSES[0] | {"request_id": "not-a-uuid"}]))
    )
    with LocalStack(folder=tmp_path / "stack") as stack:
        stack.environment["FEEDBACK_CONCURRENCY"] = "1"
        stack.start_broker()
        stack.create_database()
        unknown = [flag for request_id in UNKNOWN for flag in ("--unknown-request-id", request_id)]
        with closing(stack.start_sandbox(["--forbidden-org", "org-not-ours", *unknown])):
            stack.start_worker()
            yield stack


@pytest.fixture
def store(stack: LocalStack) -> Iterator[DeadLetterStore]:
    """The dead letters of the system."""
    with closing(DeadLetterStore.connect(stack.environment["FEEDBACK_DATABASE_URL"])) as store:
        yield store


def test_the_session_on_the_page_is_what_one_sees(stack: LocalStack, store: DeadLetterStore, tmp_path: Path) -> None:
    """Sending first, which is further down on the page; then the dead letters that it leaves; then the versions."""
    for heading in ("Sending by hand", "Dead letters", "Upgrading"):
        for command, expected in _session(heading):
            printed = _type(command, stack, tmp_path)
            if expected:
                assert _plain(printed) == _plain(expected), command
            eventually(lambda: _count(store, State.REPLAYING) == 0, what=f"the outcome of {command}")
        eventually(lambda: _count(store, *State) == 5, what="a row for each press that AquilaX refuses")
        if heading == "Sending by hand":
            _number_as_sent(store)


def _session(heading: str) -> list[tuple[str, str]]:
    """The commands under a heading, each with what the page shows that it prints."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    commands = [part.partition("\n") for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    assert commands
    return [(command, expected) for command, _, expected in commands]


def _type(command: str, stack: LocalStack, folder: Path) -> str:
    program, *arguments = shlex.split(command)
    assert program == "aquilax-feedback"
    ended = typed(stack.environment, folder, *arguments)
    assert ended.exit_code in {0, 1}, ended.output
    return ended.output


def _plain(text: str) -> list[list[str]]:
    """What a person reads: without times, however long a response took, and however wide the columns are."""
    return [WAITED.sub("<waited>", MOMENT.sub("<time>", line)).split() for line in text.strip().splitlines()]


def _number_as_sent(store: DeadLetterStore) -> None:
    """Number the rows in the order of the file: those that were committed together are in the order of their keys."""
    order = {press["request_id"]: number for number, press in enumerate(PRESSES, 1)}
    for shift in (1000, 0):  # an id that another row still has can't be given
        with store.engine.begin() as connection:
            rows = connection.execute(select(DeadLetter.id, DeadLetter.request_id)).all()
            for place, row in enumerate(sorted(rows, key=lambda row: order[str(row.request_id)]), 1):
                connection.execute(update(DeadLetter).where(DeadLetter.id == row.id).values(id=shift + place))


def _count(store: DeadLetterStore, *states: State) -> int:
    with store.engine.connect() as connection:
        rows = select(func.count()).select_from(DeadLetter).where(DeadLetter.state.in_(states))
        return connection.scalar(rows) or 0
