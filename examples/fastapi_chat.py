"""A chat backend on FastAPI whose users press 👍 or 👎.

Run it with ``uvicorn examples.fastapi_chat:app``, and FEEDBACK_BROKER_URL set to your Redis; then

    curl -X POST localhost:8000/chat/answers/77e81bbc-3e7f-47b9-87fa-681b5d2f54e6/feedback \
        -H 'content-type: application/json' -d '{"helpful": true}'
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from producer import AsyncFeedbackProducer, BrokerUnavailable, EnqueueUncertain, InvalidEvent, ProducerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RETRY_AFTER = "5"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One producer for the whole application, closed when it stops."""
    async with AsyncFeedbackProducer.from_env() as producer:
        app.state.producer = producer
        yield


app = FastAPI(title="Chat", lifespan=lifespan)


class Question(BaseModel):
    """A user's question."""

    text: str


class Thumb(BaseModel):
    """A user's opinion of an answer."""

    helpful: bool


class Tenant(BaseModel):
    """The organization and the group of a session. A real backend reads it from the session."""

    org: str = "65dd3e835a669e3347654200"
    group: str = "67e86d036e9921509f730483"


def producer_of(request: Request) -> AsyncFeedbackProducer:
    """The application's producer."""
    producer: AsyncFeedbackProducer = request.app.state.producer
    return producer


def tenant() -> Tenant:
    """The tenant of this request's session."""
    return Tenant()


@app.post("/chat/answers")
async def answer(question: Question) -> dict[str, str]:
    """Answer a question. The id is the one that AquilaX knows the answer by, and that feedback must carry."""
    return {"request_id": str(uuid4()), "text": f"You asked: {question.text}"}


@app.post("/chat/answers/{request_id}/feedback", status_code=202)
async def feedback(
    request_id: UUID,
    thumb: Thumb,
    producer: Annotated[AsyncFeedbackProducer, Depends(producer_of)],
    session: Annotated[Tenant, Depends(tenant)],
) -> dict[str, str]:
    """Take a thumb. 202 means that it is safe in the queue; its delivery is the workers' business."""
    event = await producer.enqueue(request_id, thumb.helpful, org=session.org, group=session.group)
    return {"request_id": event.request_id, "occurred_at": event.occurred_at.isoformat()}


@app.exception_handler(InvalidEvent)
async def refuse(_: Request, error: InvalidEvent) -> JSONResponse:
    """The caller's mistake: the same again can't help."""
    return JSONResponse({"field": error.field, "detail": str(error)}, status_code=422)


@app.exception_handler(BrokerUnavailable)
@app.exception_handler(EnqueueUncertain)
async def put_off(_: Request, error: ProducerError) -> JSONResponse:  # noqa: ARG001 - what failed inside is for the log
    """Redis is unavailable. Pressing again is safe: a thumb is delivered once, however often it is enqueued."""
    return JSONResponse({"detail": "try again"}, status_code=503, headers={"Retry-After": RETRY_AFTER})
