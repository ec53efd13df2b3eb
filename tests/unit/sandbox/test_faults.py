from __future__ import annotations

from uuid import UUID

import pytest

from worker.sandbox.faults import ConflictingRatesError, Faults, Outage
from worker.sandbox.fields import InvalidFieldError
from worker.sandbox.responses import ScriptedResponse, Silence

IDS = [str(UUID(int=number)) for number in range(2000)]

EVERYTHING = {
    "error_rates": {"302": 0.1, "503": 0.2},
    "hang_rate": 0.1,
    "reset_rate": 0.1,
    "close_rate": 0.1,
    "latency": 0.05,
    "jitter": 0.01,
    "trickle_rate": 0.5,
    "trickle_interval": 0.2,
    "retry_after": 3.0,
    "retry_after_form": "date",
    "redirect_to": "https://elsewhere.example/",
    "outage": {"from": 1.0, "for": 2.0, "with": "reset"},
    "unknown_share": 0.25,
    "unknown_request_ids": [IDS[0], IDS[1]],
    "revoked_key": True,
    "forbidden_orgs": ["a", "b"],
    "forbidden_groups": ["c"],
    "echo_headers": True,
}


def test_its_json_form_comes_back_as_it_went() -> None:
    """What is read is what is written, field by field."""
    assert Faults().changed(EVERYTHING).to_json() == EVERYTHING


def test_a_field_that_is_left_out_stays_as_it_is() -> None:
    """A change is of the fields that it names."""
    behaviour = Faults(latency=0.5, hang_rate=0.1).changed({"hang_rate": 0.2})

    assert behaviour == Faults(latency=0.5, hang_rate=0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hang_rate": 1.5}, "hang_rate is 1.5: expected a number from 0 to 1"),
        ({"hang_rate": True}, "hang_rate is True: expected a number from 0 to 1"),
        ({"latency": float("nan")}, "latency is nan: expected a number from 0 to 3600"),
        ({"latency": "slow"}, "latency is 'slow': expected a number from 0 to 3600"),
        ({"error_rates": {"503": 2}}, "error_rates.503 is 2: expected a number from 0 to 1"),
        ({"error_rates": {"200": 1}}, "error_rates is '200': expected an object of rates by status from 300 to 599"),
        ({"error_rates": [503]}, "error_rates is [503]: expected an object of rates by status from 300 to 599"),
        ({"retry_after_form": "weeks"}, 'retry_after_form is \'weeks\': expected "seconds" or "date"'),
        ({"redirect_to": "a b"}, "redirect_to is 'a b': expected an address or a path"),
        ({"outage": {"until": 1}}, "outage is 'until': expected an object with fields among from, for, with"),
        ({"outage": {"for": -1}}, "outage.for is -1: expected a number from 0 to 2.592e+06"),
        ({"unknown_request_ids": ["x"]}, "unknown_request_ids is 'x': expected a UUID such as"),
        ({"forbidden_orgs": "abc"}, "forbidden_orgs is 'abc': expected a list of names"),
        ({"forbidden_orgs": [1]}, "forbidden_orgs is 1: expected a list of names, each of them text"),
        ({"revoked_key": 1}, "revoked_key is 1: expected true or false"),
        ({"hangs": 1}, "behaviour is 'hangs': expected an object with fields among error_rates, hang_rate"),
        ([], "behaviour is []: expected an object with fields among"),
    ],
)
def test_a_wrong_field_is_refused_with_its_name_and_the_fix(changes: object, message: str) -> None:
    """The client learns which field it is, what was in it, and what belongs there."""
    with pytest.raises(InvalidFieldError) as refused:
        Faults().changed(changes)

    assert str(refused.value).startswith(message)


def test_rates_that_are_together_above_one_are_refused() -> None:
    """A request meets one misfortune at most."""
    with pytest.raises(ConflictingRatesError, match=r"together 1\.1: expected at most 1"):
        Faults(hang_rate=0.6, error_rates={503: 0.5})


def test_rates_that_are_together_exactly_one_are_taken() -> None:
    """0.1 + 0.2 + 0.7 is a little above 1 in floating point, and no reason to refuse it."""
    assert Faults(hang_rate=0.1, reset_rate=0.2, close_rate=0.7).misfortune(0.9999) == Silence.CLOSE


@pytest.mark.parametrize(
    ("chance", "answer"),
    [
        (0.0, Silence.HANG),
        (0.0999, Silence.HANG),
        (0.11, Silence.RESET),
        (0.31, Silence.CLOSE),
        (0.51, ScriptedResponse(status=429)),
        (0.71, ScriptedResponse(status=503)),
        (0.81, None),
    ],
)
def test_each_misfortune_has_its_share_of_chance(chance: float, answer: object) -> None:
    """Rates lie side by side, so that each befalls its own share of requests."""
    behaviour = Faults(hang_rate=0.1, reset_rate=0.2, close_rate=0.2, error_rates={429: 0.2, 503: 0.1})

    assert behaviour.misfortune(chance) == answer


def test_left_alone_it_behaves_well() -> None:
    """The default has no misfortune for any chance, knows every request_id and forbids nothing."""
    behaviour = Faults()

    assert behaviour.misfortune(0.0) is None
    assert behaviour.knows(IDS[0])
    assert not behaviour.forbids("org", "group")


def test_the_unknown_share_is_about_that_share_of_request_ids() -> None:
    """A quarter asked for is a quarter of them, give or take."""
    behaviour = Faults(unknown_share=0.25)

    unknown = [request_id for request_id in IDS if not behaviour.knows(request_id)]

    assert 440 < len(unknown) < 560


def test_an_unknown_request_id_stays_unknown_when_the_share_grows() -> None:
    """The same ids are unknown on every try, in every process: the hash decides, not chance."""
    few, many = Faults(unknown_share=0.2), Faults(unknown_share=0.4)

    assert all(not many.knows(request_id) for request_id in IDS if not few.knows(request_id))
    assert not few.knows("00000000-0000-0000-0000-000000000007")


def test_all_and_named_request_ids_can_be_unknown() -> None:
    """A share of 1 is all of them; a named one is unknown whatever the share."""
    assert not any(Faults(unknown_share=1).knows(request_id) for request_id in IDS)
    assert not Faults(unknown_request_ids=frozenset({IDS[7]})).knows(IDS[7])


@pytest.mark.parametrize(("elapsed", "on"), [(0.0, False), (4.9, False), (5.0, True), (7.9, True), (8.0, False)])
def test_an_outage_is_on_from_its_start_until_its_end(elapsed: float, on: bool) -> None:
    """From 5 for 3 seconds: the start belongs to it, the end does not."""
    outage = Outage(starts_after=5, lasts=3)

    assert (outage.answer_at(elapsed) == ScriptedResponse(status=503)) is on


def test_an_outage_without_an_end_lasts() -> None:
    """It is on until it is fixed."""
    assert Outage(answer="reset").answer_at(1e9) == Silence.RESET
