"""``aquilax-feedback send`` against a real Redis."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sandbox import PROGRAM
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import RedisServer

ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


def send(server: RedisServer, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [PROGRAM, "send", *arguments],
        env=os.environ | {"FEEDBACK_BROKER_URL": server.url},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def queued(server: RedisServer) -> list[dict[str, Any]]:
    """The keyword arguments in the queue, the oldest first."""
    with server.client() as client:
        messages = [json.loads(message) for message in reversed(client.lrange("feedback", 0, -1))]
    return [json.loads(message["body"])[1] for message in messages]


def test_one_event_is_enqueued(valkey: RedisServer) -> None:
    """By its fields on the command line."""
    ended = send(valkey, ID, "false", "--org", "o", "--group", "g", "--occurred-at", "2026-01-31T12:00:00+01:00")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"enqueued {ID} false\n"
    assert queued(valkey) == [
        {"request_id": ID, "status": "false", "org": "o", "group": "g", "occurred_at": "2026-01-31T11:00:00+00:00"}
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["not-a-uuid", "true", "--org", "o", "--group", "g"], "request_id is 'not-a-uuid': expected a UUID"),
        ([ID, "true", "--org", "o"], "group is missing"),
        ([ID, "--org", "o", "--group", "g"], "status is missing"),
        ([ID, "maybe", "--org", "o", "--group", "g"], "'maybe' is not one of"),
        ([], "expected REQUEST_ID and true or false, or --from-file"),
        (["--from-file", "-", ID, "true"], "expected REQUEST_ID and true or false, or --from-file, and not both"),
    ],
)
def test_a_wrong_event_is_refused_with_the_field_and_the_fix(
    valkey: RedisServer, arguments: list[str], problem: str
) -> None:
    """And nothing is enqueued."""
    ended = send(valkey, *arguments)

    assert ended.returncode == 2
    assert problem in " ".join(ended.stderr.split())
    assert queued(valkey) == []


def test_a_file_is_sent_but_for_its_bad_lines(valkey: RedisServer, tmp_path: Path) -> None:
    """Bad ones are told by number and reason, in order; 1,200 good ones need three chunks."""
    lines = [json.dumps({"request_id": f"{n:08d}{ID[8:]}", "status": n % 2 == 0}) for n in range(1200)]
    lines[7] = "👍"
    lines[1000] = "{}"
    path = tmp_path / "presses.ndjson"
    path.write_text("\n".join(lines))

    ended = send(valkey, "--from-file", str(path), "--org", "o", "--group", "g")

    assert ended.returncode == 1
    assert ended.stdout == "enqueued 1198, refused 2\n"
    first, second = ended.stderr.strip().splitlines()
    assert first.startswith("line 8: this is not JSON")
    assert second.startswith("line 1001: request_id is missing")
    found = queued(valkey)
    assert len(found) == 1198
    assert [event["request_id"][:8] for event in found[:9]] == [f"{n:08d}" for n in range(10) if n != 7]


def test_csv_from_standard_input_is_sent(valkey: RedisServer) -> None:
    """A pipe has no ending that would tell its format, so it is named."""
    ended = send(valkey, "--from-file", "-", "--format", "csv", stdin=f"request_id,status,org,group\n{ID},true,o,g\n")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "enqueued 1, refused 0\n"
    assert queued(valkey)[0]["request_id"] == ID


def test_a_file_can_be_gone_on_with_from_a_line(valkey: RedisServer, tmp_path: Path) -> None:
    """As the message of a run that was stopped says."""
    path = tmp_path / "presses.csv"
    path.write_text("request_id,status,org,group\n" + "".join(f"{n:08d}{ID[8:]},true,o,g\n" for n in range(10)))

    ended = send(valkey, "--from-file", str(path), "--from-line", "8")

    assert ended.returncode == 0, ended.stderr
    assert [event["request_id"][:8] for event in queued(valkey)] == ["00000006", "00000007", "00000008", "00000009"]


def test_a_file_says_where_to_go_on_when_redis_is_full(valkey: RedisServer, tmp_path: Path) -> None:
    """What was not taken is named by its first line."""
    path = tmp_path / "presses.csv"
    path.write_text(f"request_id,status,org,group\n{ID},true,o,g\n")
    with valkey.client() as client:
        client.config_set("maxmemory", "1")
        try:
            ended = send(valkey, "--from-file", str(path))
        finally:
            client.config_set("maxmemory", "0")

    assert ended.returncode == 1
    assert "go on with --from-line 2" in ended.stderr
    assert queued(valkey) == []


@pytest.mark.parametrize("from_line", ["1", "2"])
def test_a_csv_file_without_a_header_is_refused(valkey: RedisServer, tmp_path: Path, from_line: str) -> None:
    """Not a word about how much of nothing was enqueued: exit status 1, and what is expected."""
    path = tmp_path / "presses.csv"
    path.write_text(f"{ID},true,o,g\n")

    ended = send(valkey, "--from-file", str(path), "--from-line", from_line)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "line 1: expected a header with request_id,status,org,group, separated by commas" in ended.stderr


def test_a_moment_stands_in_for_lines_that_name_none(valkey: RedisServer) -> None:
    """As an org or a group does; what the line says wins."""
    own = "2026-01-31T12:00:00+00:00"
    lines = f"request_id,status,org,group,occurred_at\n{ID},true,o,g,\n{ID},true,o,g,{own}\n"

    send(valkey, "--from-file", "-", "--format", "csv", "--occurred-at", "2026-01-01T00:00:00+00:00", stdin=lines)

    assert [event["occurred_at"] for event in queued(valkey)] == ["2026-01-01T00:00:00+00:00", own]


def test_a_broker_that_is_away_is_told_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """For one event and for a file, and without the password."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    path = tmp_path / "presses.csv"
    path.write_text(f"request_id,status,org,group\n{ID},true,o,g\n")

    for arguments in ([ID, "true", "--org", "o", "--group", "g"], ["--from-file", str(path)]):
        assert subprocess.run([PROGRAM, "send", *arguments], check=False).returncode == 1

        said = capfd.readouterr().err
        assert "FEEDBACK_BROKER_URL: can't connect to redis://:***@127.0.0.1" in said
        assert "hunter2" not in said


@pytest.mark.parametrize("name", ["presses.csv", "presses.ndjson"])
def test_a_file_with_a_byte_order_mark_is_read(valkey: RedisServer, tmp_path: Path, name: str) -> None:
    """Excel writes one in front of its CSV."""
    fields = {"request_id": ID, "status": "true", "org": "o", "group": "g"}
    lines = {"presses.csv": f"{','.join(fields)}\n{','.join(fields.values())}\n", "presses.ndjson": json.dumps(fields)}
    file = tmp_path / name
    file.write_text(lines[name], encoding="utf-8-sig")

    ended = send(valkey, "--from-file", str(file))

    assert ended.stdout == "enqueued 1, refused 0\n", ended.stderr
