"""What a backend writes by itself: a FastAPI handler that calls Celery's ``apply_async``."""

from __future__ import annotations

from fastapi import FastAPI

from benchmarks.events import PATH
from benchmarks.peers.celery import deliver

__all__ = ["app"]

app = FastAPI()


@app.get(PATH + "/{request_id}/{status}")
def press(request_id: str, status: str, org: str, group: str) -> dict[str, str]:
    """Enqueue a press; FastAPI runs it in a thread, as Celery blocks."""
    deliver.apply_async(kwargs={"request_id": request_id, "status": status, "org": org, "group": group})
    return {"message": "Feedback submitted successfully"}
