"""Private parts of libraries that we touch, each by name: a release that renames or changes one fails here first.

`PRIVATE` is the whole list, which the sources are searched for. Before adding to it, look for a public way.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DOCUMENTED = {"_asdict", "_exit"}
"""Of the standard library: public for all that."""

_REQUEST = "celery.worker.request"
_KOMBU = "kombu.transport.redis"
_VIRTUAL = "kombu.transport.virtual.base"


class Private(NamedTuple):
    """One private part of a library.

    Attributes:
        module: Where it is.
        owner: Its class; '' if it is the module's.
        name: Its name.
        signature: What it is called with, of each allowed release that differs; '' if it is no function.
        why: What we need it for.
    """

    module: str
    owner: str
    name: str
    signature: str | tuple[str, ...]
    why: str


PRIVATE: Final = (
    # Celery
    Private("celery._state", "", "_task_stack", "", "says which task runs in this greenlet or thread"),
    Private("celery.worker.consumer.consumer", "Consumer", "_flush_events", "(self)", "events for Flower, in batches"),
    Private("celery.concurrency.gevent", "TaskPool", "_pool", "", "whether the pool is full, for the heartbeat"),
    Private("celery.concurrency.eventlet", "TaskPool", "_pool", "", "likewise"),
    Private("celery.concurrency.thread", "TaskPool", "_get_info", "(self) -> 'PoolInfo'", "what `inspect stats` says"),
    Private(
        "celery.worker.consumer.consumer", "Consumer", "_update_prefetch_count", "(self, index=0)",
        "as many messages as the pool has room for",
    ),
    Private("celery.events.dispatcher", "EventDispatcher", "_group_buffer", "", "events for Flower, in batches"),
    # Celery's request is made by a class of ours that reads a message once; these are what its methods read
    Private(
        _REQUEST, "Request", "_announce_revoked", "(self, reason, terminated, signum, expired)", "a message is revoked"
    ),
    Private(_REQUEST, "Request", "_already_revoked", "", "likewise"),
    *(Private(_REQUEST, "Request", name, "", "set as Celery's own constructor does") for name in (
        "_app", "_args", "_argsrepr", "_body", "_content_encoding", "_content_type", "_decoded", "_kwargs",
        "_kwargsrepr", "_message", "_request_dict",
    )),
    # Kombu: asking workers, as Celery does
    Private(
        "kombu.pidbox", "Mailbox", "_publish",
        "(self, type, arguments, destination=None, reply_ticket=None, channel=None, timeout=None, serializer=None,"
        " producer=None, pattern=None, matcher=None)",
        "a question to all workers",
    ),
    Private(
        "kombu.pidbox", "Mailbox", "_collect",
        "(self, ticket, limit=None, timeout=1, callback=None, channel=None, accept=None)",
        "their replies, read later",
    ),
    Private(
        "kombu.pidbox", "Mailbox", "_publish_reply",
        "(self, reply, exchange, routing_key, ticket, channel=None, producer=None, **opts)",
        "a reply, tried twice",
    ),
    Private("kombu.pidbox", "Mailbox", "_get_exchange", "(self, namespace, type)", "the shared exchange"),
    Private("kombu.transport", "", "_transport_cache", "", "our transport, where Kombu's was looked up before"),
    # Kombu: a transport is written by overriding these
    Private("kombu.message", "Message", "_decode", "(self)", "limits for what a message unpacks to"),
    Private("kombu.message", "Message", "_decoded_cache", "", "a message that is read already is not decoded again"),
    Private(_KOMBU, "Channel", "_get", "(self, queue)", "fetch by lease"),
    Private(_KOMBU, "Channel", "_put", "(self, queue, message, **kwargs)", "publish and schedule in one step"),
    Private(_KOMBU, "Channel", "_size", "(self, queue)", "scheduled messages count too"),
    Private(_KOMBU, "Channel", "_has_queue", "(self, queue, **kwargs)", "likewise"),
    Private(_KOMBU, "Channel", "_purge", "(self, queue)", "likewise"),
    Private(
        _KOMBU, "Channel", "_delete", "(self, queue, exchange, routing_key, pattern, *args, **kwargs)", "likewise"
    ),
    Private(
        _KOMBU, "Channel", "_put_fanout", "(self, exchange, message, routing_key, **kwargs)",
        "what everyone is told goes by a server that answers",
    ),
    Private(_KOMBU, "Channel", "_get_publish_topics", "(self, exchange, routing_key)", "likewise"),
    Private(_KOMBU, "Channel", "_q_for_pri", "(self, queue, pri)", "the list of a priority"),
    Private(_KOMBU, "Channel", "_maybe_update_queues_expire", "(self, client, queue)", "queues that expire"),
    Private(_KOMBU, "Channel", "_create_client", "(self, asynchronous=False)", "one client for a pool of connections"),
    Private(_KOMBU, "Channel", "_connparams", "(self, asynchronous=False)", "timeouts and retries of connections"),
    Private(_KOMBU, "Channel", "_get_pool", "(self, asynchronous=False)", "a client whose retries are bounded"),
    Private(_KOMBU, "Channel", "_disconnect_pools", "(self)", "a connection for fetching of its own"),
    Private(_KOMBU, "Channel", "_on_connection_disconnect", "(self, connection)", "what a lost connection leaves"),
    Private(_KOMBU, "Channel", "_after_fork", "(self)", "leases are the parent's"),
    Private(_KOMBU, "Channel", "_brpop_start", "(self, timeout=None)", "fetch by script in place of BRPOP"),
    Private(_KOMBU, "Channel", "_brpop_read", "(self, **options)", "likewise"),
    Private(_KOMBU, "Channel", "_brpop_sent_at", "", "likewise: its check of the connection's health"),
    Private(_KOMBU, "Channel", "_flush_brpop_reauth", "(self)", "a login that is due, between two fetches"),
    Private(_KOMBU, "Channel", "_in_poll", "", "the connection on which a fetch waits"),
    Private(_KOMBU, "Channel", "_receive", "(self)", "remote control is heard again"),
    Private(
        _KOMBU, "Channel", "_new_queue", "(self, queue, auto_delete=False, **kwargs)",
        "a queue is declared while a server of it is away",
    ),
    Private(_KOMBU, "Channel", "_expires", "", "whether there are bindings to refresh"),
    Private(_KOMBU, "Channel", "_in_listen", "", "the connection on which remote control is listened to"),
    Private(_KOMBU, "Channel", "_closing", "", "whether the channel is being closed"),
    Private(_KOMBU, "Channel", "_queue_cycle", "", "which queue comes next"),
    Private(_KOMBU, "Channel", "_update_queue_cycle", "(self)", "likewise"),
    Private(_KOMBU, "SentinelChannel", "_sentinel_managed_pool", "(self, asynchronous=False)", "our Sentinel client"),
    Private(_KOMBU, "MultiChannelPoller", "_register_BRPOP", "(self, channel)", "when a fetch is sent"),
    Private(_KOMBU, "MultiChannelPoller", "_register_LISTEN", "(self, channel)", "when remote control is listened to"),
    Private(_KOMBU, "MultiChannelPoller", "_register", "(self, channel, client, type)", "likewise"),
    Private(_KOMBU, "MultiChannelPoller", "_chan_to_sock", "", "which socket is polled for a channel"),
    Private(_KOMBU, "MultiChannelPoller", "_channels", "", "the channels that fetch"),
    Private(_KOMBU, "MultiChannelPoller", "_fd_to_chan", "", "whose socket is readable"),
    Private(_KOMBU, "MultiChannelPoller", "_in_protected_read", "", "no channel is closed while one is read"),
    Private(_KOMBU, "Transport", "_brpop_health_tref", "", "its timer, which comes too seldom"),
    Private(_KOMBU, "", "_socket_readable", "(sock)", "whether a connection has ended"),
    Private(_KOMBU, "QoS", "_vrestore_count", "", "restoring is ours"),
    Private(_VIRTUAL, "Channel", "_get_message_priority", "(self, message, reverse=False)", "the list of a message"),
    Private(_VIRTUAL, "QoS", "_delivered", "", "messages in flight"),
    Private(_VIRTUAL, "QoS", "_dirty", "", "messages in flight that have ended"),
    Private(_VIRTUAL, "QoS", "_flush", "(self)", "likewise"),
    Private(_VIRTUAL, "QoS", "_quick_ack", "", "acknowledged at once"),
    Private(_VIRTUAL, "QoS", "_on_collect", "", "no restoring when the process ends"),
    Private(_VIRTUAL, "Transport", "_callbacks", "", "which queues have a consumer"),
    Private(_VIRTUAL, "Transport", "_deliver", "(self, message, queue)", "a message to its consumer"),
    # redis-py
    Private("redis.connection", "AbstractConnection", "_sock", "", "one deadline for a command; a non-blocking socket"),
    Private("redis.connection", "AbstractConnection", "_parser", "", "its class for each error of the server"),
    Private(
        "redis.client", "PubSub", "_reconnect",
        (
            "(self, conn) -> None",
            (
                "(self, conn, error: Optional[Exception] = None, "
                "failure_count: Optional[int] = None, start_time: Optional[float] = None, "
                "command_name: Optional[str] = None) -> None"
            ),
        ),
        "the event loop connects to no server",
    ),
    Private("redis.retry", "Retry", "_supported_errors", "", "which errors are tried again"),
    # urllib3
    Private("urllib3.connection", "HTTPConnection", "_new_conn", "(self) -> 'socket.socket'", "gevent's connections"),
    # Tornado
    Private(
        "tornado.template", "BaseLoader", "_create_template", "(self, name: str) -> tornado.template.Template",
        "our templates beside Flower's, and a tab in its menu",
    ),
)  # fmt: skip


@pytest.mark.parametrize("part", PRIVATE, ids=lambda part: ".".join(part[:3]))
def test_a_private_part_is_as_we_know_it(part: Private) -> None:
    """It is there, and what is called or overridden has the arguments that we give and take."""
    module: Any = importlib.import_module(part.module)
    owner = getattr(module, part.owner) if part.owner else module

    if part.signature:
        known = (part.signature,) if isinstance(part.signature, str) else part.signature
        assert str(inspect.signature(inspect.getattr_static(owner, part.name))) in known
    else:
        assert hasattr(owner, part.name) or _is_set(owner, part.name)
        assert not inspect.isroutine(inspect.getattr_static(owner, part.name, None))


def test_no_other_private_part_is_touched() -> None:
    """Every use in the sources is in the list, and the list has no other."""
    known = {part.name for part in PRIVATE}
    used = {name: file for file in _sources() for name in (*_foreign_names(file), *_inherited_names(file))}

    assert {f"{name} in {file.relative_to(ROOT)}" for name, file in used.items() if name not in known} == set()
    assert known - set(used) == set()


_source = cache(inspect.getsource)
"""It is slow, and asked for often."""


def _is_set(owner: type, name: str) -> bool:
    """Whether an object of the class is given such an attribute by the class's own code."""
    assigned = re.compile(rf"\bself\.{name}\b[^=\n]*=(?!=)|\bcycle\.{name} =")
    own = [kind for kind in inspect.getmro(owner) if kind.__module__ not in {"abc", "builtins", "typing"}]
    return any(assigned.search(_source(kind)) for kind in own)


def _sources() -> Iterator[Path]:
    for package in ("producer", "worker"):
        yield from sorted((ROOT / package).rglob("*.py"))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _foreign_names(file: Path) -> set[str]:
    """Private names that a module imports from a library, or reads of an object whose class is not in the module."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    found = {
        alias.name
        for node in imports
        if not (node.module or "").startswith(("producer", "worker"))
        for alias in node.names
    }
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store) and _is_own(node.value)}
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    read = {node.attr for node in attributes if not _is_own(node.value) and ast.unparse(node.value) not in classes}
    found |= read - own
    return {name for name in found if _is_private(name)} - _DOCUMENTED


def _is_own(value: ast.expr) -> bool:
    """Whether an attribute is read of `self`, `cls` or `super()`: see `_inherited_names`."""
    return ast.unparse(value) in {"self", "cls", "super()", "type(self)"}


def _inherited_names(file: Path) -> set[str]:
    """Private names of a library's classes that a class derived from one reads, calls or overrides."""
    classes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)]
    found = set()
    for node in classes if file.name not in {"__main__.py", "celery.py"} else []:
        module = importlib.import_module(
            ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        )
        kind = getattr(module, node.name, object)
        foreign = [
            base for base in inspect.getmro(kind) if not base.__module__.startswith(("producer", "worker", "builtins"))
        ]
        parts = [part for part in ast.walk(node) if isinstance(part, ast.Attribute | ast.FunctionDef)]
        names = {part.attr if isinstance(part, ast.Attribute) else part.name for part in parts}
        found |= {name for name in names if _is_private(name) and any(_has(base, name) for base in foreign)}
    return found


def _has(base: type, name: str) -> bool:
    if name in vars(base):
        return True
    try:
        return _is_set(base, name)
    except (OSError, TypeError):  # it is written in C
        return False
