"""A chat backend on Django that keeps each press in its own database, and hands it over from there.

The model is the outbox's table; `aquilax-feedback relay` carries its rows to Redis. A real backend has the models in an
app, makes their migration with `makemigrations`, and needs neither the settings here nor `setup`.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import django
from django.conf import settings
from django.db import models, transaction

from producer import FeedbackEvent
from producer.message import trace_headers

settings.configure(DATABASES={"default": json.loads(os.environ["CHAT_DATABASE"])})
django.setup()


def now_as_text() -> str:
    """The time as the outbox has times: ISO 8601 with an offset."""
    return datetime.now(UTC).isoformat()


class FeedbackOutbox(models.Model):
    """A press that is to be handed over. Its columns are the relay's; NULL is what it looks for."""

    id = models.BigAutoField(primary_key=True)
    request_id = models.CharField(max_length=36)
    status = models.CharField(max_length=5)
    org = models.CharField(max_length=128)
    group = models.CharField(max_length=128, db_column="org_group")
    occurred_at = models.CharField(max_length=32)
    created_at = models.CharField(max_length=32, default=now_as_text)
    traceparent = models.CharField(max_length=55, null=True)  # noqa: DJ001 - see above
    tracestate = models.TextField(null=True)  # noqa: DJ001 - see above
    problem = models.TextField(null=True)  # noqa: DJ001 - see above

    class Meta:
        app_label = "chat"
        db_table = "feedback_outbox"

    def __str__(self) -> str:
        """Return what it is about."""
        return f"{self.request_id} {self.status}"


class Answer(models.Model):
    """An answer of the chat, under the id that AquilaX knows it by."""

    request_id = models.CharField(max_length=36, primary_key=True)
    org = models.CharField(max_length=128)
    group = models.CharField(max_length=128)
    helpful = models.BooleanField(null=True)

    class Meta:
        app_label = "chat"

    def __str__(self) -> str:
        """Return its id."""
        return self.request_id


def pressed(request_id: str, helpful: bool) -> FeedbackEvent:
    """Keep the press, and its feedback with it."""
    with transaction.atomic():
        answer = Answer.objects.get(pk=request_id)
        answer.helpful = helpful
        answer.save(update_fields=["helpful"])
        event = FeedbackEvent(request_id=request_id, status=helpful, org=answer.org, group=answer.group)
        FeedbackOutbox.objects.create(**event.to_wire(), **trace_headers())
    return event
