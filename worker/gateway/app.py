"""START HERE: the gateway's parts, put together to one ASGI application."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, Router

from producer import AsyncFeedbackProducer
from producer.spool import Spool
from worker.clients.redis.connections import broker_partitions, producer_options
from worker.gateway import probes
from worker.gateway.access_control import AccessControl
from worker.gateway.access_log import AccessLog
from worker.gateway.batch_upload import BATCH, BatchUpload
from worker.gateway.body import Stopping
from worker.gateway.client_keys import ClientKeys
from worker.gateway.drop_in import DROP_IN, DROP_IN_PREFIX, DropIn
from worker.gateway.endpoint import Endpoint, Surroundings
from worker.gateway.http_reply import problem
from worker.gateway.idempotency_keys import IdempotentUpload
from worker.gateway.intake import Intake, note_spooled
from worker.gateway.metrics import GatewayMetrics
from worker.gateway.rate_limit import RateLimit
from worker.gateway.traces import request_traces
from worker.setting_types import parts_of
from worker.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from worker.gateway.exchange import Exchange
    from worker.gateway.http_reply import HttpReply

__all__ = ["Gateway", "create_app"]

_HEADERS: Final = ("X-AX-KEY", "Authorization", "Content-Type", "Idempotency-Key", "traceparent", "tracestate")
"""What a page may send."""

_PROBES: Final = ("GET", "HEAD")
_NO_PATH: Final = problem(HTTPStatus.NOT_FOUND, "there is nothing at this path: see /openapi.json")


class Gateway:
    """The application without CORS.

    Args:
        settings: Where events go, and who may bring them.
        producer: Hands them over; one for the Redis of the settings if None.

    Attributes:
        stopping: Set when the server is about to stop: bodies that are being read end then.

    Raises:
        KeyFileError: The file of keys can't be used.
    """

    def __init__(self, settings: Settings, producer: AsyncFeedbackProducer | None = None) -> None:
        self.stopping = Stopping()
        self._settings = settings
        self._producer = producer or _producer(settings)
        self._partitions = broker_partitions(
            settings, connections=8, patience=settings.feedback_gateway_enqueue_timeout.total_seconds(), retries=0
        )
        metrics = GatewayMetrics()
        around = _surroundings(settings, metrics)
        metrics.in_flight.set_function(lambda: around.in_flight)
        intake = Intake(self._producer)
        self._drop_in = Endpoint(DROP_IN, ("GET",), DropIn(intake), around)
        self._unknown = Endpoint("unknown", (), _no_path, around, needs_key=False)
        confirms = settings.feedback_enqueue_replicas or settings.feedback_enqueue_fsync
        readiness = probes.Readiness(
            self._partitions,
            spool_has_room=self._spool_has_room,
            ping=partial(self._producer.ping, anywhere=True) if confirms else None,
        )
        endpoints = (
            Endpoint(BATCH, ("POST",), self._upload(intake), around),
            Endpoint("/healthz", _PROBES, probes.health, around, needs_key=False),
            Endpoint("/readyz", _PROBES, readiness, around, needs_key=False),
            Endpoint("/metrics", _PROBES, probes.metrics_page(metrics), around),
            Endpoint("/openapi.json", _PROBES, probes.openapi, around, needs_key=False),
        )
        self._router = Router(
            [Route(each.route, each) for each in endpoints],
            redirect_slashes=False, default=self._unknown, lifespan=self._lifespan,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or the server's lifespan. The drop-in comes first, without a router: it is asked most."""
        if scope["type"] == "http" and _is_drop_in(scope["path"]):
            await self._drop_in(scope, receive, send)
        else:
            await self._router(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._producer.aclose()
            self._partitions.close()

    def _upload(self, intake: Intake) -> IdempotentUpload:
        settings = self._settings
        upload = BatchUpload(
            intake,
            max_body=settings.feedback_gateway_max_body,
            max_line=settings.feedback_gateway_max_line,
            read_timeout=settings.feedback_gateway_read_timeout.total_seconds(),
            stopping=self.stopping,
        )
        spool = self._producer.spool
        return IdempotentUpload(
            upload,
            self._partitions.home,
            ttl=settings.feedback_gateway_idempotency_ttl,
            is_redis_available=lambda: spool is None or spool.is_redis_available,
        )

    def _spool_has_room(self) -> bool:
        spool = self._producer.spool
        with suppress(OSError):
            return spool is not None and spool.has_room()
        return False


def create_app(settings: Settings | None = None, *, producer: AsyncFeedbackProducer | None = None) -> ASGIApp:
    """Return the gateway as an ASGI application.

    Args:
        settings: Those of the environment if None.
        producer: Hands events over; one for the Redis of the settings if None. It is closed with the application.

    Raises:
        SettingsError: A setting is wrong.
        KeyFileError: The file of keys can't be used.
    """
    settings = settings or load_settings()
    gateway = Gateway(settings, producer)
    origins = parts_of(settings.feedback_gateway_allowed_origins or "")
    if not origins:
        return gateway
    return CORSMiddleware(
        gateway,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=_HEADERS,
        expose_headers=("Retry-After", "Idempotency-Replayed"),
    )


def _is_drop_in(path: str) -> bool:
    return path.startswith(DROP_IN_PREFIX) and path.count("/", len(DROP_IN_PREFIX)) == 1


async def _no_path(_: Exchange) -> HttpReply:
    return _NO_PATH


def _producer(settings: Settings) -> AsyncFeedbackProducer:
    timeout = settings.feedback_gateway_enqueue_timeout.total_seconds()
    return AsyncFeedbackProducer(timeout=timeout, spool=_spool(settings), **producer_options(settings))


def _spool(settings: Settings) -> Spool | None:
    if settings.feedback_spool_dir is None:
        return None
    try:
        return Spool(
            settings.feedback_spool_dir,
            max_bytes=settings.feedback_spool_max_bytes,
            max_age=settings.feedback_spool_max_age,
            on_spooled=note_spooled,
        )
    except ValueError as error:
        raise SettingsError(f"FEEDBACK_SPOOL_DIR: {error}") from None


def _surroundings(settings: Settings, metrics: GatewayMetrics) -> Surroundings:
    path, rate = settings.feedback_gateway_keys_file, settings.feedback_gateway_rate
    access = AccessControl(ClientKeys(path) if path else None, RateLimit(rate) if rate else None)
    log = AccessLog(sample=settings.feedback_log_sample, quiet=frozenset({"/healthz", "/readyz", "/metrics"}))
    return Surroundings(
        access=access,
        access_log=log,
        metrics=metrics,
        traces=request_traces(),
        concurrency=settings.feedback_gateway_concurrency,
    )
