"""How a chat backend with threads tests the same as `test_fastapi_chat` does."""

from __future__ import annotations

from examples.flask_chat import create_app
from producer import BrokerUnavailable
from producer.testing import RecordingProducer

REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
FEEDBACK = f"/chat/answers/{REQUEST_ID}/feedback"


def test_a_thumb_is_enqueued_for_its_answer() -> None:
    """The application is made with a producer that records."""
    producer = RecordingProducer()

    response = create_app(producer).test_client().post(FEEDBACK, json={"helpful": True})

    assert response.status_code == 202
    producer.assert_enqueued(request_id=REQUEST_ID, status=True)


def test_the_page_is_asked_to_try_again_later() -> None:
    """While Redis is unavailable."""
    producer = RecordingProducer()

    with producer.failing(BrokerUnavailable):
        response = create_app(producer).test_client().post(FEEDBACK, json={"helpful": True})

    assert response.status_code == 503
    producer.refute_enqueued()
