"""The HTTP client for AquilaX: one event in, one `Response` out; it never raises for what the network does.

    GET /api/v2/ai/feedback/{request_id}/{status}?org=…&group=…        X-AX-KEY: …

Redirects are never followed: `requests` takes only ``Authorization`` away on another host, so the key would leak.
The prepared request is handed straight to the adapter, past the session's look-ups of the environment for every
call (they cost more than the call); what they would find is looked up once.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.client import HTTPException
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import requests
import urllib3
from requests.exceptions import Timeout as RequestsTimeout
from urllib3.exceptions import HTTPError, NewConnectionError, ProxySchemeUnsupported
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from producer import __version__
from worker.clients.aquilax.keys import DEFAULT_KEY, KeyRing
from worker.clients.aquilax.response import BODY, Reply, exchange
from worker.clients.aquilax.transport import DeadlineAdapter
from worker.concurrency.file_descriptors import OutOfDescriptors, is_own_shortage
from worker.concurrency.scheduler import current_scheduler
from worker.policy.classification import TIMEOUT, Response
from worker.policy.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import SecretStr

    from producer import FeedbackEvent

__all__ = ["AquilaX"]

_PATH: Final = "/api/v2/ai/feedback"

log = logging.getLogger(__name__)

T = TypeVar("T")


class AquilaX:
    """One pool of connections, safe for many threads.

    Args:
        base_url: Where AquilaX is, without a slash at the end.
        keys: The keys by org, or one for all; each goes into the header X-AX-KEY and nowhere else.
        timeout: How long one request may take in all, from connect to the answer's last byte.
        connections: How many connections are kept open at the most: as many as there are threads.
        now: The clock, against which a Retry-After that is a date is read.
    """

    def __init__(
        self,
        base_url: str,
        keys: KeyRing | SecretStr,
        *,
        timeout: timedelta,
        connections: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base_url = base_url
        self._rings: list[KeyRing] = []
        self._timeout = timeout.total_seconds()
        self._now = now
        self._short = False
        self._last_text = b"", ""
        self._adapter = DeadlineAdapter(pool_connections=1, pool_maxsize=connections)
        self.use(keys if isinstance(keys, KeyRing) else KeyRing(default=keys))
        with requests.Session() as session:
            found = session.merge_environment_settings(base_url, {}, None, None, None)
        # Plain http is for loopback: through a proxy the key would leave the machine in the clear.
        self._proxies = dict(found["proxies"]) if base_url.startswith("https:") else {}
        self._verify = found["verify"] if found["verify"] is not None else True

    def __repr__(self) -> str:
        return f"AquilaX({self._base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pooled connections."""
        self._adapter.close()

    def use(self, ring: KeyRing) -> None:
        """Send with these keys from now on; requests that are under way are not touched. From any thread."""
        self._rings = [*self._rings, ring][-_RINGS:]  # a response to a request of before may repeat a key that is gone
        self._redacted = Redaction(keys=frozenset[str]().union(*(known.secrets for known in self._rings)))
        self._last_text = b"", ""
        signed = {key.name: _Signed(self._base_url, key.secret) for key in ring.all if key.secret is not None}
        self._of_key = signed
        self._default = signed.get(ring.default.name)
        self._by_org = {org: signed[key.name] for key in ring.named for org in key.orgs}

    def send(self, event: FeedbackEvent) -> Response:
        """Send one event and return what came back, or in short why nothing did, and how long that took.

        Where there is no key for its org nothing is sent, and the response says so.

        Raises:
            OutOfDescriptors: This process can open no connection.
        """
        signed = self._by_org.get(event.org, self._default) if self._by_org else self._default
        if signed is None:
            return Response(status=None, text=f"no key for the org {event.org}: {_NO_KEY}", keyless=True)
        return self._ask(_path_of(event), signed)

    def probe_key(self, name: str = DEFAULT_KEY) -> Response:
        """Ask for what can't be, with a key of ours, to see whether it is taken; return what came back.

        AquilaX documents no request that only reads. This one names neither a request_id (a UUID) nor a status
        (``true`` or ``false``), so there is nothing that it could be feedback on: 400 by the contract, or 401 if the
        key is wrong.

        Raises:
            KeyError: There is no key of this name.
        """
        return self._ask("no-request/no-status?org=no-org&group=no-group", self._of_key[name])

    def _ask(self, what: str, signed: _Signed) -> Response:
        began = time.perf_counter()
        try:
            reply = self._exchange(what, signed)
        except (requests.RequestException, HTTPError, HTTPException, ProxySchemeUnsupported, OSError) as error:
            self._require_no_shortage(error)
            return Response(status=None, text=self._why(error), took=timedelta(seconds=time.perf_counter() - began))
        return Response(
            took=timedelta(seconds=time.perf_counter() - began),
            status=reply.status,
            text=_or(self._text, reply.body, otherwise=""),
            retry_after=None
            if reply.retry_after is None
            else _or(_retry_after, reply.retry_after, self._now(), otherwise=None),
        )

    def _require_no_shortage(self, error: Exception) -> None:
        """Tell our own shortage from an answer that did not come; say it once, until it is over."""
        shortage = next((cause for cause in _causes(error) if is_own_shortage(cause)), None)
        if shortage is None:
            return
        if not self._short:
            self._short = True
            log.warning("no connection to AquilaX can be opened here: %s; events wait, and spend no attempt", shortage)
        raise OutOfDescriptors(str(shortage)) from error

    def _exchange(self, what: str, signed: _Signed) -> Reply:
        """Ask over a connection that is open; if there is none, requests opens one with the same request."""
        connection = self._adapter.kept()
        if connection is None:
            return self._request(what, signed)
        reusable = False
        try:
            reply, reusable = exchange(connection.sock, signed.written(what), timeout=self._timeout)
        finally:
            self._adapter.put_back(connection, reusable=reusable)
        return reply

    def _request(self, what: str, signed: _Signed) -> Reply:
        if (scheduler := current_scheduler()) is not None:
            scheduler.add_cleanup(self.close)  # its connections are that thread's
        request = signed.template.copy()
        request.url = f"{signed.template.url}{what}"
        response = self._adapter.send(
            request,
            stream=True,
            timeout=self._limits(),  # type: ignore[arg-type]  # types-requests does not know that requests takes urllib3's Timeout
            verify=self._verify,
            proxies=self._proxies,
        )
        self._short = False
        with closing(response):
            raw = response.raw  # read already, see `DeadlineResponse`
            return Reply(response.status_code, raw.headers.get("Retry-After"), raw.read(BODY))

    def _limits(self) -> urllib3.Timeout:
        """A third of the time for each address of the host: behind one that is dead there is time for the next."""
        return urllib3.Timeout(connect=self._timeout / 3, total=self._timeout)

    def _text(self, body: bytes) -> str:
        """The answer's text, without the key. Nearly every answer is the same as the one before."""
        last_body, text = self._last_text
        if body != last_body:
            text = self._cleaned(body)
            if len(body) <= _SHORT_BODY:
                self._last_text = body, text
        return text

    def _cleaned(self, body: bytes) -> str:
        """Decode a body first, and then redact: it may have been cut within the key."""
        text = body.decode("utf-8", errors="replace")
        if not text.isprintable():
            text = "".join(character for character in text if character.isprintable() or character in "\n\t")
        return self._redacted(text, cut=True).strip() if text else text

    def _why(self, error: BaseException) -> str:
        """Why no answer came, in short: requests' and urllib3's errors, and the system's behind them."""
        behind = list(_causes(error))
        if any(_is_timeout(cause) for cause in behind):
            return f"{TIMEOUT}: no answer within {self._timeout:g} s"
        for cause in behind:
            if isinstance(cause, ssl.SSLError):
                return f"TLS failure: {getattr(cause, 'verify_message', '') or cause.reason or 'handshake failed'}"
            if isinstance(cause, socket.gaierror):
                return f"name resolution failed: {cause.strerror}"
            if isinstance(cause, OSError) and cause.errno and cause.strerror:
                return cause.strerror.lower()
        return f"no answer: {type(behind[-1]).__name__}"


class _Signed:
    """The request with one key, but for what stands behind the endpoint's path; its repr shows no key."""

    __slots__ = ("template", "written")

    def __init__(self, base_url: str, api_key: SecretStr) -> None:
        self.template = _template(base_url, api_key)
        before = f"GET {self.template.path_url}".encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.template.headers.items())
        behind = f" HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        self.written: Callable[[str], bytes] = lambda what: before + what.encode() + behind


def _template(base_url: str, api_key: SecretStr) -> requests.PreparedRequest:
    """The request, but for what stands behind the endpoint's path."""
    headers = {
        **requests.utils.default_headers(),
        "User-Agent": f"aquilax-feedback/{__version__}",
        "Accept": "application/json, text/plain;q=0.9, */*;q=0.1",
        "Accept-Encoding": "identity",  # there is little to compress
        "X-AX-KEY": api_key.get_secret_value(),
    }
    template = requests.Request("GET", f"{base_url}{_PATH}/", headers=headers).prepare()
    template.headers["Host"] = _host(str(template.url))
    return template


def _path_of(event: FeedbackEvent) -> str:
    """What stands behind the endpoint's path: nothing that would need another look before it is sent."""
    return f"{quote(event.request_id, safe='')}/{event.status_text}?{_query(event.org, event.group)}"


@lru_cache(maxsize=1024)
def _query(org: str, group: str) -> str:
    return urlencode({"org": org, "group": group})


def _host(url: str) -> str:
    """Return the header Host as http.client writes it: no port if it is the scheme's own."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    return host if parts.port in {None, _OWN_PORT.get(parts.scheme)} else f"{host}:{parts.port}"


_OWN_PORT: Final = {"http": 80, "https": 443}


def _is_timeout(cause: BaseException) -> bool:
    """Urllib3 derives its error for a refused connection and an unknown host from the one for a timeout."""
    timeouts = RequestsTimeout | Urllib3TimeoutError | TimeoutError
    return isinstance(cause, timeouts) and not isinstance(cause, NewConnectionError)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps: by cause, by context, as an argument, or as urllib3's ``reason``."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


def _or(read: Callable[..., T], *args: object, otherwise: T) -> T:
    """Return what is read of a response, or something else: what its status says stands, whatever else it says."""
    try:
        return read(*args)
    except Exception:
        log.exception("a fault of ours: part of a response can't be read; its status counts all the same")
        return otherwise


def _retry_after(value: str, now: datetime) -> timedelta | None:
    """Whole seconds or an HTTP date (https://www.rfc-editor.org/rfc/rfc9110#field.retry-after); None for any other."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        digits = value.lstrip("0") or "0"  # Python refuses to read a number of more than 4300 digits
        return timedelta(seconds=_LONGEST_WAIT if len(digits) > _MOST_DIGITS else min(int(digits), _LONGEST_WAIT))
    if not _HTTP_DATE.match(value):
        return None
    try:
        date = parsedate_to_datetime(value)
        wait = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
    except (ValueError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), timedelta(seconds=_LONGEST_WAIT))


_HTTP_DATE: Final = re.compile(r"[A-Za-z]{3,9},? [\w :+-]{1,40}\Z", re.ASCII)
"""Roughly: in any of its three forms, and no longer than they are."""

_LONGEST_WAIT: Final = 10 * 365 * 24 * 3600
"""Seconds: ten years, beyond any horizon, and short of what `timedelta` can't hold."""

_NO_KEY: Final = "name it in AQUILAX_KEYS_FILE, or set AQUILAX_API_KEY"

_RINGS: Final = 20
"""Of so many changes of the keys the keys are known: a request that takes longer has ended before."""

_SHORT_BODY: Final = 1024
"""Bytes of a body that is remembered."""

_MOST_DIGITS: Final = 9
"""As many as ten years of seconds have."""
