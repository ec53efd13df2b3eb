"""``aquilax-feedback sandbox``: a local AquilaX that misbehaves on request."""

from __future__ import annotations

import asyncio
import ssl
from importlib.util import find_spec
from typing import Any, Final

import click

from worker.operations.cli.output import say
from worker.sandbox.faults import ConflictingRatesError, Faults
from worker.sandbox.fields import InvalidFieldError
from worker.sandbox.state import Sandbox

__all__ = ["sandbox"]

DEFAULT_KEY: Final = "sandbox-key"

_OPTION_OF_FIELD: Final = {
    "error_rates": "--error-rate",
    "forbidden_groups": "--forbidden-group",
    "forbidden_orgs": "--forbidden-org",
    "unknown_request_ids": "--unknown-request-id",
}
"""Where an option is not called as its field is: those that can be given more than once."""


def _rates_by_status(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    """Read ``503=0.1``: a status and the share of requests that get it."""
    rates = {}
    for pair in given:
        status, _, rate = pair.partition("=")
        try:
            rates[status] = float(rate)
        except ValueError:
            raise click.BadParameter(f"{pair!r}: expected a status and a rate, such as 503=0.1") from None
    return rates


_SECONDS: Final[dict[str, Any]] = {"type": float, "metavar": "SECONDS", "show_default": True}
_RATE: Final[dict[str, Any]] = {"type": float, "metavar": "RATE", "default": 0.0, "show_default": True}


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8480, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--key",
    envvar="AQUILAX_API_KEY",
    default=DEFAULT_KEY,
    show_default=True,
    show_envvar=True,
    help="The X-AX-KEY that is accepted; any other gets 401.",
)
@click.option(
    "--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Serve https with this certificate (PEM)."
)
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="The certificate's private key (PEM).")
@click.option("--seed", type=int, help="Draw the same chances on every run.")
@click.option(
    "--error-rate",
    "error_rates",
    metavar="STATUS=RATE",
    callback=_rates_by_status,
    multiple=True,
    help="Share of requests that get this 3xx, 4xx or 5xx: 503=0.1. Repeatable.",
)
@click.option("--hang-rate", **_RATE, help="Share of requests that are never answered.")
@click.option("--reset-rate", **_RATE, help="Share of requests whose connection is reset.")
@click.option("--close-rate", **_RATE, help="Share of requests whose connection is closed without an answer.")
@click.option("--latency", **_SECONDS, default=0.0, help="Wait before every answer.")
@click.option("--jitter", **_SECONDS, default=0.0, help="Wait up to so much longer.")
@click.option("--trickle-rate", **_RATE, help="Share of answers that come byte by byte.")
@click.option("--trickle-interval", **_SECONDS, default=1.0, help="Wait between two such bytes.")
@click.option("--retry-after", **_SECONDS, help="What a 429 or a 503 asks for in Retry-After.")
@click.option(
    "--retry-after-form",
    type=click.Choice(["seconds", "date"]),
    default="seconds",
    show_default=True,
    help="How Retry-After says it.",
)
@click.option("--redirect-to", metavar="URL", default="/elsewhere", show_default=True, help="The Location of a 3xx.")
@click.option("--outage-from", **_SECONDS, help="Begin an outage so long after the start: nothing works.")
@click.option("--outage-for", **_SECONDS, help="End the outage after so long; else it lasts until it is fixed.")
@click.option("--outage-with", type=click.Choice(["503", "reset"]), help="What every request gets in an outage.")
@click.option("--unknown-share", **_RATE, help="Share of request_ids that are unknown (404), the same ones each time.")
@click.option(
    "--unknown-request-id", "unknown_request_ids", multiple=True, help="A request_id that is unknown. Repeatable."
)
@click.option("--revoked-key", is_flag=True, help="Accept no key at all (401).")
@click.option("--forbidden-org", "forbidden_orgs", multiple=True, help="An org that gets 403. Repeatable.")
@click.option("--forbidden-group", "forbidden_groups", multiple=True, help="A group that gets 403. Repeatable.")
@click.option("--echo-headers", is_flag=True, help="Repeat the request's headers in the answer, THE KEY AMONG THEM.")
def sandbox(*, host: str, port: int, tls_cert: str | None, tls_key: str | None, **options: Any) -> None:
    """Run a local AquilaX that keeps the API's contract and misbehaves on request.

    A RATE is a share from 0 (never) to 1 (always). Every option below --seed can be changed while the sandbox
    runs, with GET, PUT or PATCH /_sandbox/behaviour. GET /_sandbox/received says what it received, and
    GET /_sandbox/received/REQUEST_ID of one request_id. It stops with Ctrl-C.
    """
    if find_spec("aiohttp") is None:
        raise click.ClickException("aiohttp is not installed: pip install 'aquilax-feedback[sandbox]'")
    local = Sandbox(key=options.pop("key"), seed=options.pop("seed"), behaviour=_behaviour(options))
    tls = _tls(tls_cert, tls_key)
    from worker.sandbox.server import run  # noqa: PLC0415 - importing aiohttp takes a third of a second, and --help needs none

    try:
        asyncio.run(run(local, host=host, port=port, tls=tls, ready=_announce))
    except OSError as error:
        raise click.UsageError(
            f"--host {host} --port {port} can't be listened on ({error.strerror}): choose another, or --port 0"
        ) from None


def _announce(address: str) -> None:
    say(f"sandbox listening on {address}")


def _behaviour(options: dict[str, Any]) -> Faults:
    fields = {name: value for name, value in options.items() if not name.startswith("outage_")}
    outage = {part: options[f"outage_{part}"] for part in ("from", "for", "with")}
    if given := {part: value for part, value in outage.items() if value is not None}:
        fields["outage"] = given
    try:
        return Faults().changed(fields)
    except InvalidFieldError as error:
        raise click.UsageError(f"{_option(error.field)} {error.problem}") from None
    except ConflictingRatesError as error:
        raise click.UsageError(f"--error-rate, --hang-rate: {error}") from None


def _option(field: str) -> str:
    """``hang_rate`` is ``--hang-rate``, ``error_rates.503`` ``--error-rate 503``, ``outage.for`` ``--outage-for``."""
    name, _, part = field.partition(".")
    if option := _OPTION_OF_FIELD.get(name):
        return f"{option} {part}".rstrip()
    return f"--{field.replace('_', '-').replace('.', '-')}"


def _tls(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if (cert is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together: give both, or neither")
    if cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise click.UsageError(f"--tls-cert and --tls-key can't be used ({error}): expected PEM files") from None
    return context
