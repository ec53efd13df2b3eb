"""A chat backend on Django whose users press 👍 or 👎.

Run it with ``python -m examples.django_chat runserver``, or under gunicorn with ``examples.django_chat:application``.
FEEDBACK_BROKER_URL says where Redis is. The settings are in this file only because it is an example.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.management.utils import get_random_secret_key
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from producer import BrokerUnavailable, EnqueueUncertain, FeedbackProducer, InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY_AFTER = "5"
ORG, GROUP = "65dd3e835a669e3347654200", "67e86d036e9921509f730483"  # a real backend reads them from the session


@cache
def feedback_producer() -> FeedbackProducer:
    """One producer for the process, shared by its threads, made when it is first needed."""
    return FeedbackProducer.from_env()


@require_POST
def answer(request: HttpRequest) -> JsonResponse:
    """Answer a question. The id is the one that AquilaX knows the answer by, and that feedback must carry."""
    question = json.loads(request.body)["text"]
    return JsonResponse({"request_id": str(uuid4()), "text": f"You asked: {question}"})


@require_POST
def feedback(request: HttpRequest, request_id: str) -> JsonResponse:
    """Take a thumb. 202 means that it is safe in the queue; its delivery is the workers' business."""
    event = feedback_producer().enqueue(request_id, json.loads(request.body).get("helpful"), org=ORG, group=GROUP)
    return JsonResponse({"request_id": event.request_id, "occurred_at": event.occurred_at.isoformat()}, status=202)


class FeedbackErrors:
    """Middleware that answers for the errors of the producer, whichever view meets them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Let the request through."""
        return self.get_response(request)

    def process_exception(self, _: HttpRequest, error: Exception) -> JsonResponse | None:
        """422 for the caller's mistake; 503 while Redis is unavailable: a thumb pressed twice is delivered once."""
        match error:
            case InvalidEvent():
                return JsonResponse({"field": error.field, "detail": str(error)}, status=422)
            case BrokerUnavailable() | EnqueueUncertain():
                return JsonResponse({"detail": "try again"}, status=503, headers={"Retry-After": RETRY_AFTER})
        return None


urlpatterns = [
    path("chat/answers", answer),
    path("chat/answers/<request_id>/feedback", feedback),
]

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"],
    MIDDLEWARE=[f"{__name__}.FeedbackErrors"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=get_random_secret_key(),
)
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
