"""The sandbox as a process: what it does to real connections."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import pytest
import requests

from tests.support.certificates import self_signed
from tests.support.processes import eventually
from tests.support.sandbox import KEY, RunningSandbox, running_sandbox
from worker.sandbox.client import SandboxError
from worker.sandbox.responses import ScriptedResponse
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ID: Final = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
OTHER_ID: Final = "00000000-3e7f-47b9-87fa-681b5d2f54e6"


@pytest.fixture(scope="module")
def _local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def local(_local: RunningSandbox) -> RunningSandbox:
    """One sandbox for all tests that do not end it, as at its start."""
    _local.client.reset()
    return _local


def send(
    sandbox: RunningSandbox, request_id: str = ID, *, key: str = KEY, verify: bool | str = True
) -> requests.Response:
    """Send one 👍."""
    return requests.get(
        f"{sandbox.url}/api/v2/ai/feedback/{request_id}/true",
        params={"org": "o", "group": "g"},
        headers={"X-AX-KEY": key},
        timeout=10,
        allow_redirects=False,
        verify=verify,
    )


def connected(sandbox: RunningSandbox) -> socket.socket:
    """Open a connection and send one 👍 over it, without reading what comes back."""
    connection = socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2])), timeout=10)
    path = f"/api/v2/ai/feedback/{ID}/true?org=o&group=g"
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: sandbox\r\nX-AX-KEY: {KEY}\r\n\r\n".encode())
    return connection


def test_feedback_is_taken_and_told(local: RunningSandbox) -> None:
    """What is sent is what was received, with the word, the org, the group and the sender's name."""
    answer = send(local, ID.upper())

    account = local.client.received_for(ID)

    assert (answer.status_code, answer.text) == (200, "Feedback submitted successfully")
    assert (account.received, account.delivered, account.status, account.org, account.group) == (1, 1, "true", "o", "g")
    assert account.recent[0].user_agent.startswith("python-requests/")
    assert local.client.received().answers == {"200": 1}
    assert local.client.received_by_request_id().keys() == {ID}


FOREIGN = (
    {"Origin": "http://attacker.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Host": "attacker.example"},
    {"Host": "attacker.example:8480", "Origin": "http://attacker.example:8480"},
    {"Host": "127.0.0.1.attacker.example"},
    {"Host": "192.0.2.1"},
    {"Host": ""},
)
CONTROLS = (
    ("GET", "received"),
    ("GET", "behaviour"),
    ("PUT", "behaviour"),
    ("PATCH", "behaviour"),
    ("PUT", f"scripts/{ID}"),
    ("DELETE", "scripts"),
    ("POST", "reset"),
)


def test_a_page_of_another_site_controls_nothing(local: RunningSandbox) -> None:
    """Neither by a form that the browser sends, nor by a name of its own that means this machine (DNS rebinding)."""
    send(local)
    for headers in FOREIGN:
        for method, path in (*CONTROLS, ("POST", "%72eset"), ("GET", "nothing")):
            body = '{"revoked_key": true}' if method in {"PUT", "PATCH"} else None
            url = f"{local.url}/_sandbox/{path}"
            answer = requests.request(method, url, data=body, headers=headers, timeout=10)
            assert (answer.status_code, answer.json()["code"]) == (403, 403), (headers, method, path)
            assert answer.json()["message"].startswith("refused: ")
    assert local.client.received_for(ID).received == 1
    assert not local.client.behaviour().revoked_key


def test_people_and_programs_of_this_machine_control_it(local: RunningSandbox) -> None:
    """By each of its names, with curl and from the address bar."""
    port = local.url.rpartition(":")[2]
    for headers in (
        {"Host": f"localhost:{port}"},
        {"Host": f"sandbox.localhost:{port}"},
        {"Host": "[::1]:8480"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": local.url},
    ):
        answer = requests.patch(f"{local.url}/_sandbox/behaviour", data="{}", headers=headers, timeout=10)
        assert answer.status_code == 200, headers


def test_any_other_key_is_refused(local: RunningSandbox) -> None:
    """401, and the request is told all the same."""
    assert send(local, key="another").status_code == 401
    assert local.client.received_for(ID).recent[0].answer == 401


def test_only_get_is_feedback(local: RunningSandbox) -> None:
    """A HEAD is refused, and is no request for feedback: a GET is what AquilaX documents."""
    answer = requests.head(f"{local.url}/api/v2/ai/feedback/{ID}/true?org=o&group=g", timeout=10)

    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert local.client.received().requests == 0


@pytest.mark.parametrize("query", ["", "org=o", "group=g", "org=&group=g", "org=o&org=p&group=g"])
def test_org_and_group_are_required_once(query: str, local: RunningSandbox) -> None:
    """Missing, empty or twice is 400."""
    answer = requests.get(f"{local.url}/api/v2/ai/feedback/{ID}/true?{query}", headers={"X-AX-KEY": KEY}, timeout=10)

    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("status", [204, 302, 304, 408, 418, 425, 429, 500, 503, 599])
def test_any_status_can_be_asked_for(status: int, local: RunningSandbox) -> None:
    """Not only the documented ones."""
    local.client.script(ID, [status])

    assert send(local).status_code == status


def test_a_redirect_says_where_to(local: RunningSandbox) -> None:
    """A 302 has a Location, so that a client that follows it gives itself away."""
    local.client.behave(error_rates={"302": 1}, redirect_to=f"{local.url}/elsewhere")

    assert send(local).headers["Location"] == f"{local.url}/elsewhere"


def test_retry_after_comes_in_both_forms(local: RunningSandbox) -> None:
    """Seconds, or an HTTP date."""
    local.client.behave(error_rates={"429": 1}, retry_after=30)
    in_seconds = send(local).headers["Retry-After"]
    local.client.behave(retry_after_form="date")
    as_date = parsedate_to_datetime(send(local).headers["Retry-After"])

    assert in_seconds == "30"
    assert timedelta(seconds=20) < as_date - datetime.now(UTC) <= timedelta(seconds=31)


def test_a_script_is_followed_and_then_over(local: RunningSandbox) -> None:
    """A status, a reset, a reply of one's own, then the usual."""
    local.client.script(ID, [503, "reset", ScriptedResponse(status=400, body="no", headers={"X-Why": "because"})])

    first = send(local)
    with pytest.raises(requests.ConnectionError):
        send(local)
    third, other, fourth = send(local), send(local, OTHER_ID), send(local)

    assert first.json() == {"code": 503, "message": "Downstream service unavailable"}
    assert (third.status_code, third.text, third.headers["X-Why"]) == (400, "no", "because")
    assert (other.status_code, fourth.status_code) == (200, 200)
    assert [request.answer for request in local.client.received_for(ID).recent] == [503, "reset", 400, 200]


def test_a_reset_is_a_real_one(local: RunningSandbox) -> None:
    """RST, which a client sees as ECONNRESET."""
    local.client.behave(reset_rate=1)

    with connected(local) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_a_close_is_in_good_order_and_without_an_answer(local: RunningSandbox) -> None:
    """FIN: the client reads nothing, and the end."""
    local.client.behave(close_rate=1)

    with connected(local) as connection:
        assert connection.recv(1) == b""
    assert local.client.received().answers == {"close": 1}


def test_a_hang_is_never_answered(local: RunningSandbox) -> None:
    """The request is in flight until its sender gives up, and no longer."""
    local.client.behave(hang_rate=1)

    with connected(local) as connection:
        eventually(lambda: local.client.received().answers == {"hang": 1}, what="the request hangs")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        during = local.client.received_for(ID).in_flight
    eventually(lambda: local.client.received_for(ID).in_flight == 0, what="the sender has given up")

    assert during == 1


def test_a_sender_that_gives_up_before_the_answer_is_gone(local: RunningSandbox) -> None:
    """Nothing was accepted from it."""
    local.client.behave(latency=60)

    with connected(local):
        eventually(lambda: local.client.received().in_flight == 1, what="the request waits")
    eventually(lambda: local.client.received().answers == {"gone": 1}, what="the sender has given up")

    assert local.client.received_for(ID).delivered == 0


def test_requests_at_the_same_time_are_seen(local: RunningSandbox) -> None:
    """So that a test can prove that no two workers ever send one request_id at once."""
    local.client.behave(hang_rate=1)

    with connected(local), connected(local):
        eventually(lambda: local.client.received_for(ID).in_flight == 2, what="both are in flight")

    assert local.client.received_for(ID).max_in_flight == 2


def test_an_answer_can_trickle(local: RunningSandbox) -> None:
    """One byte at a time, the status line too: no single read takes long, the whole does; and it is a whole answer."""
    local.client.behave(trickle_rate=1, trickle_interval=0.005)
    began = time.monotonic()

    with connected(local) as connection:
        pieces = list(iter(lambda: connection.recv(4096), b""))

    assert len(pieces) > 50
    assert b"".join(pieces).startswith(b"HTTP/1.1 200 OK\r\n")
    assert time.monotonic() - began > 0.5
    assert send(local).text == "Feedback submitted successfully"


def test_latency_is_waited(local: RunningSandbox) -> None:
    """Before the answer, not after."""
    local.client.behave(latency=0.2)
    began = time.monotonic()

    send(local)

    assert time.monotonic() - began >= 0.2


def test_what_is_asked_for_meanwhile_changes_no_answer_that_waits(local: RunningSandbox) -> None:
    """A 503 that was decided with a Retry-After has it, though all is fixed before it is given."""
    local.client.behave(error_rates={"503": 1}, retry_after=7, latency=1)

    with connected(local) as connection:
        eventually(lambda: local.client.received().in_flight == 1, what="the request waits")
        local.client.fix()
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 7\r\n" in answer


def test_an_outage_begins_and_ends_by_itself(local: RunningSandbox) -> None:
    """From half a second on, for half a second."""
    local.client.behave(outage={"from": 0.5, "for": 0.5})

    before = send(local).status_code
    eventually(lambda: send(local).status_code == 503, timeout=5, what="the outage begins")
    eventually(lambda: send(local).status_code == 200, timeout=5, what="the outage ends")

    assert before == 200


def test_what_is_broken_can_be_mended_while_it_runs(local: RunningSandbox) -> None:
    """A revoked key, an unknown request_id and a script are gone; what was received is not."""
    local.client.behave(revoked_key=True)
    revoked = send(local).status_code
    local.client.behave(revoked_key=False, unknown_request_ids=[ID])
    unknown = send(local).status_code
    local.client.script(ID, ["hang"])

    local.client.fix()

    assert (revoked, unknown, send(local).status_code) == (401, 404, 200)
    assert local.client.received_for(ID).received == 3


def test_an_echo_shows_the_key_to_its_sender_and_the_control_api_to_nobody(local: RunningSandbox) -> None:
    """The answer repeats it, for a client to redact; what was received does not."""
    local.client.behave(echo_headers=True)

    answer = send(local)
    told = [
        requests.get(f"{local.url}/_sandbox/{path}", timeout=10).text
        for path in ("received?list=true", f"received/{ID}", "behaviour", "health")
    ]

    assert f"X-AX-KEY: {KEY}" in answer.text
    assert KEY not in "".join(told)


def test_what_it_is_told_wrongly_is_refused_with_the_fix(local: RunningSandbox) -> None:
    """And the behaviour stays as it was."""
    with pytest.raises(SandboxError, match=r"hang_rate is 2: expected a number from 0 to 1"):
        local.client.behave(hang_rate=2)
    with pytest.raises(SandboxError, match=r"together 1\.2: expected at most 1"):
        local.client.behave(hang_rate=0.6, reset_rate=0.6)

    assert local.client.behaviour().hang_rate == 0


def test_flags_are_its_behaviour_from_the_start_and_after_a_reset(tmp_path: Path) -> None:
    """Mending goes further than the command line; a reset comes back to it."""
    with running_sandbox(tmp_path, "--error-rate", "418=1", "--outage-for", "0", "--forbidden-org", "x") as sandbox:
        at_start = send(sandbox).status_code
        sandbox.client.fix()
        fixed = send(sandbox).status_code
        sandbox.client.reset()

        assert (at_start, fixed, send(sandbox).status_code) == (418, 200, 418)
        assert sandbox.client.behaviour().forbidden_orgs == {"x"}


def test_it_ends_at_once_when_told_to_with_requests_hanging(tmp_path: Path) -> None:
    """SIGTERM: exit status 0, within seconds, and nothing but the one line was printed."""
    with running_sandbox(tmp_path, "--hang-rate", "1") as sandbox, connected(sandbox), connected(sandbox):
        eventually(lambda: sandbox.client.received().in_flight == 2, what="both hang")
        began = time.monotonic()

        status = sandbox.process.stop(timeout=10)

        assert (status, time.monotonic() - began < 3) == (0, True)
        assert sandbox.process.output() == f"sandbox listening on {sandbox.url}\n"


def test_a_port_in_use_is_said_with_the_fix(local: RunningSandbox, tmp_path: Path) -> None:
    """The option is named, and what to do."""
    port = local.url.rpartition(":")[2]

    with pytest.raises(AssertionError, match=rf"--port {port} can't be listened on[\s\S]*--port 0"):
        running_sandbox(tmp_path, "--port", port).__enter__()


def test_it_listens_where_it_is_told_to(tmp_path: Path) -> None:
    """A port of one's own choice survives a restart."""
    port = free_port()

    with running_sandbox(tmp_path, "--port", str(port)) as sandbox:
        assert sandbox.url == f"http://127.0.0.1:{port}"


def test_tls_is_served_with_the_certificate_that_it_is_given(tmp_path: Path) -> None:
    """A client that trusts it is answered, a client that does not refuses to speak, and a reset works there too."""
    cert, key = self_signed(tmp_path)
    flags = ("--tls-cert", str(cert), "--tls-key", str(key))
    with running_sandbox(tmp_path, *flags, verify=str(cert)) as sandbox:
        trusted = send(sandbox, verify=str(cert))
        with pytest.raises(requests.exceptions.SSLError):
            send(sandbox)
        sandbox.client.script(ID, ["reset"])
        with pytest.raises(requests.ConnectionError):
            send(sandbox, verify=str(cert))

        assert sandbox.url.startswith("https://127.0.0.1:")
        assert trusted.status_code == 200
        assert sandbox.client.received().answers == {"200": 1, "reset": 1}
