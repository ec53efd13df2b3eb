from __future__ import annotations

import pytest

from worker.sandbox.contract import Ask
from worker.sandbox.faults import Faults
from worker.sandbox.responses import Answer, ResponseScript, ScriptedResponse, Silence
from worker.sandbox.state import Sandbox

ASK = Ask(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status="true", org="o", group="g", key="the-key", user_agent=""
)
HALF_FAIL = Faults(error_rates={503: 0.5})


def answers(sandbox: Sandbox, count: int) -> list[Answer]:
    """What so many requests in a row get."""
    return [sandbox.answer(ASK) for _ in range(count)]


def test_a_script_is_followed_and_then_over() -> None:
    """Its answers come in order, whatever the key and the behaviour say; then the usual ones."""
    sandbox = Sandbox(key="the-key", behaviour=Faults(revoked_key=True))
    sandbox.script(ASK.request_id, ResponseScript(answers=(ScriptedResponse(status=503), Silence.HANG)))

    assert answers(sandbox, 3) == [ScriptedResponse(status=503), Silence.HANG, ScriptedResponse(status=401)]


def test_a_script_can_repeat_its_last_answer_for_ever() -> None:
    """Until the scripts are dropped."""
    sandbox = Sandbox(key="the-key", behaviour=Faults())
    sandbox.script(
        ASK.request_id, ResponseScript(answers=(Silence.RESET, ScriptedResponse(status=404)), repeat_last=True)
    )
    scripted = answers(sandbox, 4)
    sandbox.drop_scripts()

    assert scripted == [Silence.RESET, *[ScriptedResponse(status=404)] * 3]
    assert answers(sandbox, 1) == [ScriptedResponse(status=200)]


def test_the_same_seed_draws_the_same_chances() -> None:
    """A run that failed can be run again."""
    one, two = (Sandbox(key="the-key", behaviour=HALF_FAIL, seed=7) for _ in range(2))

    assert answers(one, 50) == answers(two, 50)


def test_a_rate_befalls_about_that_share_of_requests() -> None:
    """Half asked for is half of them, give or take."""
    failed = answers(Sandbox(key="the-key", behaviour=HALF_FAIL, seed=7), 1000).count(ScriptedResponse(status=503))

    assert 440 < failed < 560


def test_a_reset_is_as_good_as_a_restart() -> None:
    """Nothing received, no scripts, the behaviour and the chances of the start."""
    sandbox = Sandbox(key="the-key", behaviour=HALF_FAIL, seed=7)
    at_first = answers(sandbox, 50)
    sandbox.received.arrived(ASK, at=0)
    sandbox.script(ASK.request_id, ResponseScript(answers=(Silence.HANG,), repeat_last=True))
    sandbox.behave(Faults(revoked_key=True), restart_outage=True)

    sandbox.reset()

    assert sandbox.received.totals().requests == 0
    assert sandbox.behaviour == HALF_FAIL
    assert answers(sandbox, 50) == at_first


@pytest.mark.parametrize(("restart_outage", "status"), [(True, 503), (False, 200)])
def test_an_outage_counts_from_when_it_was_asked_for(restart_outage: bool, status: int) -> None:
    """Another change leaves a running outage as it is; asking for one begins it restart_outage."""
    moment = 0.0
    sandbox = Sandbox(key="the-key", behaviour=Faults(), clock=lambda: moment)
    moment = 10.0

    sandbox.behave(Faults().changed({"outage": {"for": 5}}), restart_outage=restart_outage)

    assert answers(sandbox, 1) == [ScriptedResponse(status=status)]


def test_latency_is_between_itself_and_its_jitter_more() -> None:
    """Jitter only ever adds."""
    sandbox = Sandbox(key="the-key", behaviour=Faults(latency=1, jitter=0.5), seed=7)

    drawn = [sandbox.latency() for _ in range(200)]

    assert 1 <= min(drawn) < 1.1
    assert 1.4 < max(drawn) < 1.5
