from __future__ import annotations

import pytest

from worker.sandbox.fields import InvalidFieldError
from worker.sandbox.responses import (
    ResponseScript,
    ScriptedResponse,
    Silence,
    documented,
    response_from_json,
    response_to_json,
)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (503, ScriptedResponse(status=503)),
        (503.0, ScriptedResponse(status=503)),
        ("hang", Silence.HANG),
        ("reset", Silence.RESET),
        ("close", Silence.CLOSE),
        ({"status": 204}, ScriptedResponse(status=204)),
        (
            {"status": 429, "body": "later", "headers": {"Retry-After": "5"}, "latency": 0.5},
            ScriptedResponse(status=429, body="later", headers={"Retry-After": "5"}, latency=0.5),
        ),
        ({"status": 500, "body": {"code": 1}}, ScriptedResponse(status=500, body={"code": 1})),
    ],
)
def test_an_answer_is_a_status_a_silence_or_an_object(value: object, answer: object) -> None:
    """The three forms in which an answer can be written."""
    assert response_from_json("answer", value) == answer


@pytest.mark.parametrize(
    "answer", [503, Silence.HANG, {"status": 503, "body": "x", "headers": {"X-A": "b"}, "latency": 1.0}]
)
def test_an_answer_comes_back_as_it_went(answer: object) -> None:
    """What the client writes is what the sandbox reads."""
    read = response_from_json("answer", answer)

    assert response_from_json("answer", response_to_json(read)) == read


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"answers": []}, r"answers is \[\]: expected a list of one or more answers"),
        ({}, "answers is None: expected a list of one or more answers"),
        ({"answers": [200, 100]}, "answers.1 is 100: expected a status from 200 to 599"),
        ({"answers": ["explode"]}, "answers.0 is 'explode': expected a status from 200 to 599"),
        ({"answers": [{"status": True}]}, "answers.0.status is True: expected a status"),
        (
            {"answers": [{"status": 200, "text": "x"}]},
            "answers.0 is 'text': expected an object with fields among status",
        ),
        ({"answers": [{"status": 200, "body": 1}]}, "answers.0.body is 1: expected text or an object"),
        ({"answers": [{"status": 200, "latency": -1}]}, "answers.0.latency is -1: expected a number from 0 to 3600"),
        ({"answers": [{"status": 200, "headers": 1}]}, "answers.0.headers is 1: expected an object of headers"),
        ({"answers": [{"status": 200, "headers": {"Content-Length": "9"}}]}, "answers.0.headers is 'Content-Length'"),
        ({"answers": [{"status": 200, "headers": {"X": "a\r\nb"}}]}, "answers.0.headers.X is .* printable ASCII"),
        ({"answers": [200], "repeat_last": 1}, "repeat_last is 1: expected true or false"),
    ],
)
def test_a_wrong_script_is_refused_with_the_place_and_the_fix(script: object, message: str) -> None:
    """The message leads to the answer that is wrong."""
    with pytest.raises(InvalidFieldError, match=message):
        ResponseScript.from_json(script)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, "A valid organization_id is required in the URL path"),
        (500, "Failed to make request to downstream API"),
        (404, {"code": 404, "message": "Request ID not found"}),
        (418, {"code": 418, "message": "I'm a Teapot"}),
        (599, {"code": 599, "message": "Status 599"}),
    ],
)
def test_every_status_has_words(status: int, body: object) -> None:
    """The documented ones have the API's own, any other the standard's."""
    assert documented(status) == body
