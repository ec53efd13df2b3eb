"""A plain Celery application, written without knowledge of this project."""

from __future__ import annotations

import os

import redis
from celery import Celery

app = Celery("stock", broker=os.environ["STOCK_BROKER_URL"])


@app.task(name="feedback.deliver")  # type: ignore[untyped-decorator]  # Celery has no types
def deliver(**fields: str) -> None:
    """Write down what came."""
    with redis.Redis.from_url(os.environ["STOCK_BROKER_URL"]) as client:
        client.hset("came", mapping=fields)
