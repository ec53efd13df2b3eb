"""How a chat backend on Django tests the same as `test_fastapi_chat` does."""

from __future__ import annotations

import pytest
from django.test import Client

from examples import django_chat
from producer import BrokerUnavailable
from producer.testing import RecordingProducer

REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
FEEDBACK = f"/chat/answers/{REQUEST_ID}/feedback"


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> RecordingProducer:
    """The application's producer, which records."""
    recording = RecordingProducer()
    monkeypatch.setattr(django_chat, "feedback_producer", lambda: recording)
    return recording


def test_a_thumb_is_enqueued_for_its_answer(producer: RecordingProducer) -> None:
    """With what the page says of it."""
    response = Client().post(FEEDBACK, {"helpful": True}, content_type="application/json")

    assert response.status_code == 202
    producer.assert_enqueued(request_id=REQUEST_ID, status=True)


def test_the_page_is_asked_to_try_again_later(producer: RecordingProducer) -> None:
    """While Redis is unavailable."""
    with producer.failing(BrokerUnavailable):
        response = Client().post(FEEDBACK, {"helpful": True}, content_type="application/json")

    assert response.status_code == 503
    producer.refute_enqueued()
