"""Requests with an ``Idempotency-Key``: the same one again gets the response of the first, and enqueues nothing.

By https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. It saves a second enqueue, and guards
nothing: an event that comes twice is delivered once all the same. So where Redis can't be asked, a request is answered
as if it had no key.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from hashlib import sha256
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Final

import msgspec
import redis

from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.scripts import Script, lua
from worker.gateway.body import BodyEnd, BodyReader
from worker.gateway.endpoint import CLIENT_LEFT
from worker.gateway.exchange import ClientLeft
from worker.gateway.http_reply import RETRY_SOON, HttpReply, problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from worker.gateway.batch_upload import BatchUpload
    from worker.gateway.exchange import Exchange

__all__ = ["IdempotentUpload"]

log = logging.getLogger(__name__)

_SETTLE: Final = Script(lua("worker.gateway", "settle_claim"))
_KEY: Final = re.compile(r'"?([!#-\[\]-~]{1,255})"?')
"""A quoted string, as the draft has it, or the text alone, as most clients send it."""

_CLAIM_MS: Final = 60_000
_RENEW_EVERY: Final = 15.0
"""Seconds: a claim that is not renewed, as its gateway was killed, ends within a minute."""

_FINAL: Final = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.MULTI_STATUS, HTTPStatus.BAD_REQUEST})
_MALFORMED: Final = problem(
    HTTPStatus.BAD_REQUEST, "expected an Idempotency-Key of 1 to 255 printable characters, once"
)
_RUNNING: Final = problem(
    HTTPStatus.CONFLICT, "a request with this Idempotency-Key is being answered: send it again later", RETRY_SOON
)
_OTHER_BODY: Final = problem(
    HTTPStatus.UNPROCESSABLE_ENTITY, "this Idempotency-Key came with another body: use a new key for a new request"
)


class _Remembered(msgspec.Struct, kw_only=True):
    """A response, and the hash of the body that it was given to."""

    sha256: str
    status: int
    body: str

    def reply(self) -> HttpReply:
        return HttpReply(status=self.status, body=self.body.encode(), headers=((b"idempotency-replayed", b"true"),))


class _KeyClaim:
    """The right to answer the request of one key."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self._key = key
        self._value = f"running:{secrets.token_hex(16)}"
        self._renewed_at = monotonic()

    def take(self) -> _Remembered | HttpReply | None:
        """Return None if it is ours now, or else what is remembered, or the refusal; raises `redis.RedisError`."""
        if self._client.set(self._key, self._value, nx=True, px=_CLAIM_MS):
            return None
        found = self._client.get(self._key)
        if not isinstance(found, bytes) or found.startswith(b"running:"):
            return _RUNNING
        return msgspec.json.decode(found, type=_Remembered)

    async def renew(self) -> None:
        if monotonic() - self._renewed_at >= _RENEW_EVERY:
            self._renewed_at = monotonic()
            await self.settle(self._value, _CLAIM_MS)

    async def settle(self, value: bytes | str, milliseconds: int = 1) -> None:
        """Replace it, or drop it for ''; a Redis that is unavailable lets it end by itself."""
        try:
            await asyncio.to_thread(_SETTLE, self._client, [self._key], [self._value, value, milliseconds])
        except redis.RedisError as error:
            log.warning("an Idempotency-Key is forgotten: %s", error)


class IdempotentUpload:
    """Takes bodies of events, with a key or without.

    Args:
        upload: Takes them.
        client: Of Redis; it is asked in another thread.
        ttl: How long a response is remembered.
        is_redis_available: Whether it is worth asking, as far as is known.
    """

    def __init__(
        self, upload: BatchUpload, client: redis.Redis, *, ttl: timedelta, is_redis_available: Callable[[], bool]
    ) -> None:
        self._upload = upload
        self._client = client
        self._prefix = feedback_keys(client).idempotency
        self._is_redis_available = is_redis_available
        self._ttl_ms = int(ttl.total_seconds() * 1000)

    async def __call__(self, exchange: Exchange) -> HttpReply:
        """Answer a request."""
        if b"idempotency-key" not in exchange.headers and b"idempotency-key" not in exchange.repeated:
            return await self._upload(exchange)
        given = _KEY.fullmatch(exchange.header(b"idempotency-key"))
        if given is None:
            return _MALFORMED
        if not self._is_redis_available():
            return await self._upload(exchange)
        key = f"{self._prefix}{exchange.client}:{sha256(given[1].encode()).hexdigest()}"
        claim = _KeyClaim(self._client, key)
        try:
            found = await asyncio.to_thread(claim.take)
        except (redis.RedisError, msgspec.MsgspecError) as error:
            log.warning("an Idempotency-Key is passed over: %s", error)
            return await self._upload(exchange)
        if isinstance(found, _Remembered):
            return await self._again(exchange, found)
        return found or await self._first(exchange, claim)

    async def _first(self, exchange: Exchange, claim: _KeyClaim) -> HttpReply:
        body = self._upload.reader(exchange, progress=claim.renew, hashed=True)
        kept: bytes | str = ""
        try:
            reply = await self._upload.take(exchange, body)
            if reply.status in _FINAL and not exchange.has_unread_body:
                kept = msgspec.json.encode(
                    _Remembered(sha256=body.hexdigest, status=reply.status, body=reply.body.decode())
                )
        finally:
            await claim.settle(kept, self._ttl_ms)
        return reply

    async def _again(self, exchange: Exchange, found: _Remembered) -> HttpReply:
        body: BodyReader = self._upload.reader(exchange, hashed=True)
        try:
            await body.rest()
        except BodyEnd as end:
            return end.reply
        except ClientLeft:
            return CLIENT_LEFT
        return found.reply() if body.hexdigest == found.sha256 else _OTHER_BODY
