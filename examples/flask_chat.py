"""A chat backend on Flask whose users press 👍 or 👎.

Run it with ``flask --app examples.flask_chat run``, or under gunicorn with ``--preload``: the producer opens
connections of its own in each worker process. FEEDBACK_BROKER_URL says where Redis is.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from flask import Flask, current_app, request

from producer import BrokerUnavailable, EnqueueUncertain, FeedbackProducer, InvalidEvent, ProducerError

RETRY_AFTER = "5"
ORG, GROUP = "65dd3e835a669e3347654200", "67e86d036e9921509f730483"  # a real backend reads them from the session

Reply = tuple[dict[str, Any], int] | tuple[dict[str, Any], int, dict[str, str]]


def create_app(producer: FeedbackProducer | None = None) -> Flask:
    """Make the application.

    Args:
        producer: Where feedback goes; by default to the broker of the environment.
    """
    app = Flask(__name__)
    app.extensions["feedback"] = producer or FeedbackProducer.from_env()
    app.add_url_rule("/chat/answers", view_func=answer, methods=["POST"])
    app.add_url_rule("/chat/answers/<request_id>/feedback", view_func=feedback, methods=["POST"])
    app.register_error_handler(InvalidEvent, refuse)
    app.register_error_handler(BrokerUnavailable, put_off)
    app.register_error_handler(EnqueueUncertain, put_off)
    return app


def answer() -> Reply:
    """Answer a question. The id is the one that AquilaX knows the answer by, and that feedback must carry."""
    question = request.get_json()["text"]
    return {"request_id": str(uuid4()), "text": f"You asked: {question}"}, 200


def feedback(request_id: str) -> Reply:
    """Take a thumb. 202 means that it is safe in the queue; its delivery is the workers' business."""
    producer: FeedbackProducer = current_app.extensions["feedback"]
    event = producer.enqueue(request_id, request.get_json().get("helpful"), org=ORG, group=GROUP)
    return {"request_id": event.request_id, "occurred_at": event.occurred_at.isoformat()}, 202


def refuse(error: InvalidEvent) -> Reply:
    """The caller's mistake: the same again can't help."""
    return {"field": error.field, "detail": str(error)}, 422


def put_off(error: ProducerError) -> Reply:  # noqa: ARG001 - what failed inside is for the log
    """Redis is unavailable. Pressing again is safe: a thumb is delivered once, however often it is enqueued."""
    return {"detail": "try again"}, 503, {"Retry-After": RETRY_AFTER}
