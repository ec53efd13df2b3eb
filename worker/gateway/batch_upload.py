"""``POST /v1/feedback``: one event, an array, or NDJSON of any length, handed over in chunks as it is read."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

from producer import FeedbackEvent, InvalidEvent, ProducerError
from worker.gateway.batch_report import BatchReport, Chunk, ItemProblem
from worker.gateway.body import BodyEnd, BodyReader, Stopping
from worker.gateway.endpoint import CLIENT_LEFT
from worker.gateway.exchange import ClientLeft
from worker.gateway.http_reply import RETRY_SOON, HttpReply, json_reply, problem
from worker.gateway.intake import MOST, Intake, advice_on
from worker.gateway.line_splitter import TOO_LONG, LineSplitter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.gateway.exchange import Exchange

__all__ = ["BATCH", "BatchUpload"]

BATCH: Final = "/v1/feedback"

_JSON: Final = "application/json"
_NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_MEDIA_TYPE: Final = problem(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "expected the Content-Type application/json or application/x-ndjson",
    (b"accept-post", b"application/json, application/x-ndjson"),
)
_ENCODING: Final = problem(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected no Content-Encoding", (b"accept-encoding", b"identity")
)
_decode: Final = msgspec.json.Decoder().decode


class _Cut(Exception):
    """A body is not read any further.

    Attributes:
        reply: What is answered.
    """

    def __init__(self, reply: HttpReply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class BatchUpload:
    """Takes bodies of events.

    Args:
        intake: Where events go.
        max_body: Bytes of a body of JSON.
        max_line: Bytes of a line of NDJSON.
        read_timeout: Seconds that a client may take for a body of JSON, or for each next line of NDJSON.
        stopping: Says when the gateway stops.
    """

    def __init__(
        self, intake: Intake, *, max_body: int, max_line: int, read_timeout: float, stopping: Stopping
    ) -> None:
        self._intake = intake
        self._max_body = max_body
        self._max_line = max_line
        self._read_timeout = read_timeout
        self._stopping = stopping

    async def __call__(self, exchange: Exchange) -> HttpReply:
        """Take the events of a request."""
        return await self.take(exchange, self.reader(exchange))

    def reader(self, exchange: Exchange, **options: Any) -> BodyReader:
        """Return what reads the body of a request; options are those of `BodyReader`."""
        return BodyReader(exchange, timeout=self._read_timeout, stopping=self._stopping, **options)

    async def take(self, exchange: Exchange, body: BodyReader) -> HttpReply:
        """Take the events of a body; see `BodyReader.progress` for what is told of each chunk."""
        media = exchange.header(b"content-type").partition(";")[0].strip().lower()
        if media != _JSON and media not in _NDJSON:
            return _MEDIA_TYPE
        encoding = b"content-encoding"
        if encoding in exchange.repeated or exchange.header(encoding).lower() not in {"", "identity"}:
            return _ENCODING
        report = BatchReport("index" if media == _JSON else "line")
        try:
            await (self._take_json if media == _JSON else self._take_lines)(body, report)
        except _Cut as cut:
            return cut.reply
        except ClientLeft:
            return CLIENT_LEFT
        finally:
            exchange.taken, exchange.spooled, exchange.invalid = report.taken, report.spooled, report.invalid
        return json_reply(report.status, report.content())

    async def _take_json(self, body: BodyReader, report: BatchReport) -> None:
        try:
            content = _decoded(await body.whole(self._max_body))
        except BodyEnd as end:
            raise _Cut(end.reply) from None
        except InvalidEvent as error:
            raise _Cut(problem(HTTPStatus.BAD_REQUEST, str(error))) from None
        items = content if isinstance(content, list) else [content]
        for first in range(0, len(items), MOST):
            chunk = Chunk()
            for place, item in enumerate(items[first : first + MOST], start=first):
                _add(chunk, place, item)
            await self._hand_over(chunk, report, body)

    async def _take_lines(self, body: BodyReader, report: BatchReport) -> None:
        splitter, chunk = LineSplitter(self._max_line), Chunk()
        try:
            while (piece := await body.piece()) is not None:
                chunk = await self._fill(chunk, splitter.feed(piece), report, body)
                if chunk.first is not None:
                    await self._hand_over(chunk, report, body)
                    chunk = Chunk()
                    body.restart_timer()
        except BodyEnd as end:
            resume_at = splitter.number + 1
            content = report.cut_short(HTTPStatus(end.reply.status), end.why, resume_at)
            raise _Cut(json_reply(end.reply.status, content, *end.reply.headers)) from None
        chunk = await self._fill(chunk, splitter.finish(), report, body)
        await self._hand_over(chunk, report, body)

    async def _fill(
        self, chunk: Chunk, lines: Iterable[tuple[int, bytes]], report: BatchReport, body: BodyReader
    ) -> Chunk:
        """Add lines to a chunk, and hand each one that is full over; return the one that is not."""
        for number, line in lines:
            _add_line(chunk, number, line)
            if len(chunk.events) + len(chunk.problems) == MOST:
                await self._hand_over(chunk, report, body)
                chunk = Chunk()
        return chunk

    async def _hand_over(self, chunk: Chunk, report: BatchReport, body: BodyReader) -> None:
        try:
            spooled = bool(chunk.events) and await self._intake.take_many(chunk.events)
        except ProducerError as error:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            content = report.cut_short(status, advice_on(error), chunk.first or 0)
            raise _Cut(json_reply(status, content, RETRY_SOON)) from None
        report.add(chunk, spooled=spooled)
        await body.progress()


def _decoded(content: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Read JSON; raises `InvalidEvent`."""
    try:
        return _decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"this is no JSON: {error}") from None


def _add(chunk: Chunk, place: int, item: object) -> None:
    chunk.begin_item(place)
    try:
        chunk.events.append(FeedbackEvent.from_wire(item))  # type: ignore[arg-type] # it says itself what is no mapping
    except InvalidEvent as error:
        chunk.problems.append(ItemProblem(place, HTTPStatus.BAD_REQUEST, error.field, str(error)))


def _add_line(chunk: Chunk, number: int, line: bytes) -> None:
    chunk.begin_item(number)
    if line is TOO_LONG:
        too_large = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        chunk.problems.append(ItemProblem(number, too_large, "event", "the line is too long"))
        return
    try:
        chunk.events.append(FeedbackEvent.from_wire(_decoded(line)))
    except InvalidEvent as error:
        chunk.problems.append(ItemProblem(number, HTTPStatus.BAD_REQUEST, error.field, str(error)))
