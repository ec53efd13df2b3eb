"""Every answer of AquilaX, from ``enqueue`` through a real worker to what everybody then sees of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import succeed
from tests.support.processes import eventually
from worker.database.models import State
from worker.policy.retry import Reason
from worker.sandbox.responses import Answer, ScriptedResponse

if TYPE_CHECKING:
    from tests.acceptance.conftest import System

RETRIED = [
    pytest.param(500, "500 Failed to make request to downstream API", id="500"),
    pytest.param(502, "502 Downstream service error", id="502"),
    pytest.param(503, "503 Downstream service unavailable", id="503"),
    pytest.param(504, "504 Downstream service timeout", id="504"),
    pytest.param(408, "408", id="408"),
    pytest.param(425, "425", id="425"),
    pytest.param(429, "429", id="429"),
    pytest.param("hang", "timeout: no answer within 1 s", id="hang"),
    pytest.param("reset", "connection reset by peer", id="reset"),
    pytest.param("close", "no answer: RemoteDisconnected", id="close"),
]

HELD = [pytest.param(401, "401 Invalid authentication", id="401"), pytest.param(302, "302 Found", id="302")]


@dataclass(frozen=True)
class Refusal:
    """What the dead letter of a refused event says."""

    reason: Reason
    answer: str
    summary: str


REFUSED = [
    pytest.param(
        400,
        Refusal(
            Reason.REJECTED,
            "A valid organization_id is required in the URL path",
            "dead letter: rejected 400 A valid organization_id is required in the URL path",
        ),
        id="400",
    ),
    pytest.param(
        403,
        Refusal(Reason.FORBIDDEN, "Insufficient permissions", "dead letter: forbidden 403 Insufficient permissions"),
        id="403",
    ),
    pytest.param(
        404,
        Refusal(Reason.REJECTED, "Request ID not found", "dead letter: rejected 404 Request ID not found"),
        id="404",
    ),
    pytest.param(418, Refusal(Reason.REJECTED, "", "dead letter: rejected 418"), id="418"),
]


def test_a_taken_event_is_delivered_once(system: System) -> None:
    """200: AquilaX has it, it is not sent again, and nothing is left of it but a success in Flower."""
    event = system.enqueue()

    task = system.task(event.request_id, state="SUCCESS")

    account = system.sandbox.received_for(event.request_id)
    assert (account.received, account.status, account.org, account.group) == (1, "true", "org-1", "group-1")
    assert task["result"] == "'delivered'"
    assert system.dead_letter(event.request_id) is None


@pytest.mark.parametrize(("status", "expected"), REFUSED)
def test_a_refused_event_becomes_a_dead_letter_at_once(system: System, status: int, expected: Refusal) -> None:
    """400, 403, 404 and their like: sent once, kept with the answer's words, and a failure in Flower."""
    request_id = _scripted(system, [status], repeat_last=True)

    system.enqueue(request_id, status=False)
    task = system.task(request_id, state="FAILURE")

    row = system.dead_letter(request_id)
    assert row is not None
    assert (row.reason, row.http_status, row.attempts, row.state) == (expected.reason, status, 1, State.DEAD)
    assert (row.status, row.org, row.group) == (False, "org-1", "group-1")
    assert expected.answer in row.response_body
    assert task["exception"].startswith(expected.summary)
    assert system.sandbox.received_for(request_id).received == 1


@pytest.mark.parametrize(("answer", "why"), RETRIED)
def test_an_event_that_aquilax_cannot_take_now_is_delivered_later(system: System, answer: int | str, why: str) -> None:
    """5xx, 408, 425, 429 and no answer: tried again, with the reason in Flower meanwhile."""
    request_id = _scripted(system, [answer, answer])

    system.enqueue(request_id)
    task = system.task(request_id, state="SUCCESS")

    assert system.sandbox.received_for(request_id).received == 3
    assert task["result"] == "'delivered'"
    assert task["exception"].startswith("retry in ")
    assert why in task["exception"]
    assert system.dead_letter(request_id) is None


@pytest.mark.parametrize(("answer", "why"), RETRIED)
def test_an_event_that_aquilax_never_takes_is_exhausted(system: System, answer: int | str, why: str) -> None:
    """When the attempts are used up the event is kept, with the last answer."""
    request_id = _scripted(system, [answer], repeat_last=True)

    system.enqueue(request_id)
    task = system.task(request_id, state="FAILURE")

    row = system.dead_letter(request_id)
    assert row is not None
    assert (row.reason, row.attempts, row.state) == (Reason.EXHAUSTED, 3, State.DEAD)
    assert row.http_status == (answer if isinstance(answer, int) else None)
    assert task["exception"].startswith("dead letter: exhausted ")
    assert why in task["exception"]
    assert system.sandbox.received_for(request_id).received == 3


@pytest.mark.parametrize(("status", "why"), HELD)
def test_a_wrong_key_or_address_spends_no_attempt_and_loses_nothing(system: System, status: int, why: str) -> None:
    """401 and 3xx are our fault: as many of them as there are attempts, and the event is still delivered."""
    request_id = _scripted(system, [status] * 3)

    system.enqueue(request_id)
    task = system.task(request_id, state="SUCCESS")

    assert system.sandbox.received_for(request_id).received == 4
    assert task["exception"] == f"hold: {why}"
    assert not system.broker.exists("feedback:hold")
    assert system.dead_letter(request_id) is None


def test_the_dead_letter_counts_only_attempts_that_were_the_events_own(system: System) -> None:
    """A hold does not count, nor does a probe that fails: after 503, 401 and 302, the 404 is the second attempt."""
    request_id = _scripted(system, [503, 401, 302, 404])

    system.enqueue(request_id)
    system.task(request_id, state="FAILURE")

    row = system.dead_letter(request_id)
    assert row is not None
    assert (row.reason, row.http_status, row.attempts) == (Reason.REJECTED, 404, 2)


def test_a_redirect_is_never_followed(system: System) -> None:
    """The key must not reach another address: after a 302 the same request comes again, and no other."""
    request_id = _scripted(system, [ScriptedResponse(status=302, headers={"Location": "/_sandbox/health"})])
    before = system.sandbox.received().requests

    system.enqueue(request_id)
    system.task(request_id, state="SUCCESS")

    assert system.sandbox.received_for(request_id).received == 2
    assert system.sandbox.received().requests - before == 2


def test_retry_after_is_obeyed_in_full(system: System) -> None:
    """A 429 that asks for two seconds gets them, though our own backoff ends at one."""
    request_id = _scripted(system, [ScriptedResponse(status=429, headers={"Retry-After": "2"})])

    system.enqueue(request_id)
    system.task(request_id, state="SUCCESS")

    first, second = system.sandbox.received_for(request_id).recent
    assert second.at - first.at >= timedelta(seconds=2)


def test_an_answer_that_repeats_the_key_does_not_leak_it(system: System) -> None:
    """The key is in no dead letter, in nothing that Flower reports, and in no line of the worker's log."""
    key = system.stack.environment["AQUILAX_API_KEY"]
    request_id = _scripted(system, [ScriptedResponse(status=400, body=f"you sent X-AX-KEY: {key}")])

    system.enqueue(request_id)
    task = system.task(request_id, state="FAILURE")

    row = system.dead_letter(request_id)
    assert row is not None
    assert row.response_body == "you sent X-AX-KEY: [redacted]"
    assert key not in str(task)
    assert all(key not in part.said() for part in system.stack.parts if part.name != "sandbox")


def test_the_same_word_twice_is_delivered_once(system: System) -> None:
    """A double click, or an `enqueue` that was uncertain and made again."""
    event = system.enqueue()
    system.task(event.request_id, state="SUCCESS")

    system.producer.enqueue(event)
    eventually(lambda: system.task(event.request_id, state="SUCCESS")["result"] == "'duplicate'")

    assert system.sandbox.received_for(event.request_id).received == 1


def test_a_changed_mind_is_delivered_again(system: System) -> None:
    """True, then false: AquilaX hears both, the last one last."""
    event = system.enqueue(status=True)
    system.task(event.request_id, state="SUCCESS")

    system.enqueue(event.request_id, status=False)
    eventually(lambda: system.sandbox.received_for(event.request_id).received == 2)

    assert system.sandbox.received_for(event.request_id).status == "false"


def test_many_words_on_one_request_id_are_never_sent_together(system: System) -> None:
    """Eight threads, forty presses on one answer, and a slow AquilaX: one request at a time, and the last vote last."""
    system.sandbox.behave(latency=0.05)
    event = system.enqueue(status=True)

    for press in range(40):
        last = system.enqueue(event.request_id, status=bool(press % 2))
    eventually(system.is_idle)

    account = system.sandbox.received_for(event.request_id)
    assert account.max_in_flight == 1
    assert account.status == ("true" if last.status else "false")


def test_a_dead_letter_is_replayed_and_its_outcome_comes_back(system: System) -> None:
    """Dead, replayed in vain, replayed again: the row says so each time."""
    request_id = _scripted(system, [404, 404])
    system.enqueue(request_id)
    system.task(request_id, state="FAILURE")

    for state, count in ((State.DEAD, 1), (State.DELIVERED, 2)):
        succeed(system.stack.environment, "dead-letters", "replay", "--request-id", request_id, "--yes")
        eventually(lambda: _row(system, request_id) == (state, count), what=f"replay {count} ends {state}")  # noqa: B023 - awaited here

    assert system.sandbox.received_for(request_id).received == 3


def _row(system: System, request_id: str) -> tuple[State, int] | None:
    row = system.dead_letter(request_id)
    return None if row is None else (row.state, row.replay_count)


def _scripted(system: System, answers: list[Answer | int | str], *, repeat_last: bool = False) -> str:
    request_id = str(uuid.uuid4())
    system.sandbox.script(request_id, answers, repeat_last=repeat_last)
    return request_id
