"""What both producers are told, and what they are given."""

from __future__ import annotations

import math
from typing import Any

import pytest

from producer import AsyncFeedbackProducer, FeedbackEvent, FeedbackProducer

BOTH = pytest.mark.parametrize("kind", [FeedbackProducer, AsyncFeedbackProducer])
REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


@BOTH
def test_the_environment_names_the_broker(kind: Any) -> None:
    """The same variable configures the worker."""
    made = kind.from_env({"FEEDBACK_BROKER_URL": "redis://broker:7000/2"})

    assert "'redis://broker:7000/2'" in repr(made)


@BOTH
@pytest.mark.parametrize("environ", [{}, {"FEEDBACK_BROKER_URL": ""}])
def test_a_broker_on_this_machine_needs_no_setting(kind: Any, environ: dict[str, str]) -> None:
    """The default is where Redis listens by itself."""
    assert "'redis://127.0.0.1:6379/0'" in repr(kind.from_env(environ))


@BOTH
def test_the_environment_names_the_sentinels_and_their_master(kind: Any) -> None:
    """The same two variables configure the worker."""
    url = "sentinel://one;sentinel://two/2"

    made = kind.from_env({"FEEDBACK_BROKER_URL": url, "FEEDBACK_SENTINEL_MASTER": "mymaster"})

    assert f"'{url}'" in repr(made)
    with pytest.raises(ValueError, match="FEEDBACK_SENTINEL_MASTER"):
        kind.from_env({"FEEDBACK_BROKER_URL": url, "FEEDBACK_SENTINEL_MASTER": ""})
    with pytest.raises(ValueError, match="FEEDBACK_SENTINEL_MASTER"):
        kind.from_env({"FEEDBACK_SENTINEL_MASTER": "mymaster"})


@BOTH
def test_a_url_that_is_given_does_not_take_its_masters_name_from_the_environment(kind: Any) -> None:
    """It may name Redis itself, or sentinels that watch another."""
    environ = {"FEEDBACK_BROKER_URL": "sentinel://one", "FEEDBACK_SENTINEL_MASTER": "mymaster"}

    assert "'redis://here/1'" in repr(kind.from_env(environ, url="redis://here/1"))
    assert "'sentinel://here'" in repr(kind.from_env(environ, url="sentinel://here", sentinel_master="another"))
    assert "'sentinel://one'" in repr(kind.from_env(environ, sentinel_master="another"))


@BOTH
def test_an_argument_wins_over_the_environment(kind: Any) -> None:
    """Tests and scripts say where to send without touching the environment."""
    made = kind.from_env({"FEEDBACK_BROKER_URL": "redis://broker/2"}, url="redis://here/1", timeout=2, queue="q")

    assert repr(made) == f"{kind.__name__}('redis://here/1', timeout=2, queue='q')"


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": math.inf},
        {"timeout": math.nan},
        {"max_connections": 0},
        {"queue": ""},
    ],
    ids=str,
)
def test_a_producer_that_could_never_work_is_not_made(kind: Any, wrong: dict[str, Any]) -> None:
    """The start of a program is the time to hear of it."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


@pytest.mark.parametrize("timeout", [0, -0.25, math.inf, math.nan])
def test_a_budget_that_is_none_is_refused_before_anything_is_sent(timeout: float) -> None:
    """For ever is not a budget."""
    event = FeedbackEvent(request_id=REQUEST_ID, status=True, org="o", group="g")

    with pytest.raises(ValueError, match="timeout is"):
        FeedbackProducer().enqueue(event, timeout=timeout)


def test_an_event_and_its_fields_are_not_given_together() -> None:
    """Which of the two statuses would be meant can't be told."""
    event = FeedbackEvent(request_id=REQUEST_ID, status=True, org="o", group="g")
    either: Any = FeedbackProducer().enqueue

    with pytest.raises(TypeError, match="an event or its fields, not both"):
        either(event, False)


@BOTH
def test_the_environment_says_how_many_partitions_there_are(kind: Any) -> None:
    """An argument wins; without either it is 16 in a cluster, and one on one Redis."""
    of_env = kind.from_env({"FEEDBACK_PARTITIONS": "4\n"}, url="redis://there")
    given = kind.from_env({"FEEDBACK_PARTITIONS": "4"}, url="redis://there", partitions=2)
    of_cluster = kind.from_env({}, url="redis+cluster://there")

    assert [len(made._address.prefixes) for made in (of_env, given, of_cluster, kind())] == [4, 2, 16, 1]


@BOTH
@pytest.mark.parametrize("text", ["0", "257", "-1", "1.5", "many"])
def test_a_number_of_partitions_that_can_not_be_is_refused(kind: Any, text: str) -> None:
    """With the variable, or the argument, and what is expected."""
    with pytest.raises(ValueError, match=r"FEEDBACK_PARTITIONS is .*: expected a whole number from 1 to 256"):
        kind.from_env({"FEEDBACK_PARTITIONS": text})
    with pytest.raises(ValueError, match=r"partitions is .*: expected a whole number from 1 to 256"):
        kind(partitions=text)
