"""AquilaX: can it be found, reached and trusted, and does it take our key? No feedback is given for it."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests

from worker.clients.aquilax.client import AquilaX
from worker.clients.aquilax.keys import DEFAULT_KEY, KeysFileError, ring_of
from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.policy.classification import Response
    from worker.settings import Settings

__all__ = ["look_at_api_keys", "look_at_aquilax"]

_CONNECTED_WITHIN: Final = 4.0
_ANSWERED_WITHIN: Final = timedelta(seconds=8)
_EXPIRES_SOON: Final = timedelta(days=14)

_REFUSED_FOR_ITS_FIELDS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
"""AquilaX checks the key before it says so."""

_HELD: Final = "; nothing is lost: feedback waits in Redis meanwhile"


def look_at_aquilax(base_url: str) -> Iterator[Finding]:
    """Check the way to AquilaX."""
    if proxy := _proxy(base_url):
        yield _through_proxy(base_url, proxy)
        return
    parts = urlsplit(base_url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        addresses = {place[0] for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        yield red("aquilax name", f"{host} can't be resolved: {error.strerror}", fix=_FIX_NAME)
        return
    yield green("aquilax name", f"{host} is {', '.join(sorted(map(str, addresses)))}")
    yield from _look_at_server(host, port, base_url, secure=secure)


def _look_at_server(host: str, port: int, base_url: str, *, secure: bool) -> Iterator[Finding]:
    try:
        connection = socket.create_connection((host, port), timeout=_CONNECTED_WITHIN)
    except OSError as error:
        why = error.strerror or "no answer in time"
        yield red("aquilax", f"{host}:{port} can't be reached: {why}", fix=_FIX_WAY)
        return
    with closing(connection):
        yield green("aquilax", f"{host}:{port} takes connections")
        if secure:
            yield _certificate(connection, host, base_url)


_FIX_NAME: Final = f"correct AQUILAX_BASE_URL, or the machine's name service{_HELD}"
_FIX_WAY: Final = f"correct AQUILAX_BASE_URL, open the firewall, or wait until AquilaX is up again{_HELD}"


def _environment(base_url: str) -> tuple[dict[str, str], bool | str]:
    """The proxies and the authorities that `worker.clients.aquilax.client` takes from the environment, too."""
    with requests.Session() as session:
        found = session.merge_environment_settings(base_url, {}, None, None, None)
    verify = found["verify"]
    return dict(found["proxies"]), True if verify is None else verify


def _proxy(base_url: str) -> str | None:
    if not base_url.startswith("https:"):
        return None
    proxies, _ = _environment(base_url)
    return requests.utils.select_proxy(base_url, proxies)


def _through_proxy(base_url: str, proxy: str) -> Finding:
    """Behind a proxy there is no name to resolve and no certificate to look at: any answer is good news."""
    place = urlsplit(proxy if "://" in proxy else f"//{proxy}")
    shown = f"{place.hostname}:{place.port}" if place.port else f"{place.hostname}"
    try:
        answer = requests.get(base_url, timeout=_CONNECTED_WITHIN, allow_redirects=False, stream=True)
    except requests.RequestException as error:
        summary = f"it can't be reached through the proxy {shown}: {type(error).__name__}"
        return red("aquilax", summary, fix=f"correct HTTPS_PROXY or NO_PROXY, or the proxy itself{_HELD}")
    answer.close()
    return green("aquilax", f"it is reached through the proxy {shown}, and its certificate is trusted")


def _certificate(connection: socket.socket, host: str, base_url: str) -> Finding:
    check = "aquilax certificate"
    try:
        with _trusting(base_url).wrap_socket(connection, server_hostname=host) as secured:
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        fix = "if a proxy of yours is in between, name its authority in REQUESTS_CA_BUNDLE"
        fix += f"; else another server pretends to be AquilaX{_HELD}"
        return red(check, f"{host} can't be trusted: {error.verify_message}", fix=fix)
    except OSError as error:
        return red(check, f"no TLS with {host}: {error.strerror or 'no answer in time'}", fix=_FIX_WAY)
    return _validity(check, datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC))


def _validity(check: str, ends: datetime) -> Finding:
    left = ends - datetime.now(UTC)
    summary = f"it is trusted, and valid for another {span(left)}, until {ends:%Y-%m-%d}"
    if left < _EXPIRES_SOON:
        return yellow(check, summary, fix="ask AquilaX to renew it: from then on everything waits")
    return green(check, summary)


def _trusting(base_url: str) -> ssl.SSLContext:
    _, verify = _environment(base_url)
    authorities = Path(verify) if isinstance(verify, str) else Path(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    if authorities.is_dir():
        return ssl.create_default_context(capath=str(authorities))
    return ssl.create_default_context(cafile=str(authorities))


def look_at_api_keys(settings: Settings) -> Iterator[Finding]:
    """Ask AquilaX whether it takes each of our keys, by a request that can't be feedback."""
    try:
        ring = ring_of(settings)
    except KeysFileError:
        return  # the settings' own check tells it
    timeout = min(settings.feedback_request_timeout, _ANSWERED_WITHIN)
    with AquilaX(settings.aquilax_base_url, ring, timeout=timeout, connections=1) as aquilax:
        for key in ring.all:
            yield _judge_key(key.name, aquilax.probe_key(key.name))


def _judge_key(name: str, answer: Response) -> Finding:
    is_default = name == DEFAULT_KEY
    check = "aquilax key" if is_default else f"aquilax key {name}"
    match answer.status:
        case HTTPStatus.UNAUTHORIZED:
            fix = f"set AQUILAX_API_KEY to a valid key, and restart the workers{_HELD}"
            if not is_default:
                fix = f"put a valid key for {name} into AQUILAX_KEYS_FILE{_HELD}"
            return red(check, f"it is refused: {answer.summary}", fix=fix)
        case status if status in _REFUSED_FOR_ITS_FIELDS:
            return green(check, f"it is taken (asked for what can't be: {answer.summary})")
        case status if status is not None and status in range(300, 400):
            return red(check, f"AquilaX redirects: {answer.summary}", fix=f"correct AQUILAX_BASE_URL{_HELD}")
        case _:
            fix = "try again later; `aquilax-feedback status` says whether everything is held"
            return yellow(check, f"it can't be told: {answer.summary}", fix=fix)
