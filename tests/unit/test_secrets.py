"""No secret is shown by any road that leads out of a program: each is walked here, with secrets in every place."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import producer
import worker
from producer import FeedbackProducer, ProducerError
from producer.broker_url import BrokerUrl
from worker.app import create_app
from worker.clients.aquilax.client import AquilaX
from worker.database.engine import shown
from worker.database.errors import DeadLetterStoreUnavailable
from worker.database.schema import check_schema
from worker.dead_letters.store import DeadLetterStore
from worker.observability.redaction import Redactor, secrets_of
from worker.operations.database import database_outage
from worker.runtime.inspect_stats import inspect_stats
from worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "ax-k3y/of+ours-9876"
BROKER = "br0ker-s3cret"
DATABASE = "d4tabase-s3cret"
SECRETS = (KEY, BROKER, DATABASE)

BROKER_URLS = [
    f"redis://{BROKER}@127.0.0.1:1/0",
    f"redis://:{BROKER}@127.0.0.1:1/0",
    f"redis://me:{BROKER}@127.0.0.1:1/0",
    f"redis://127.0.0.1:1/0?password={BROKER}",
    f"redis://me:{BROKER.replace('-', '%2D')}@127.0.0.1:1/0",
    f"sentinel://:{BROKER}@127.0.0.1:1;sentinel://:{BROKER}@127.0.0.1:2/0",
    f"sentinel://127.0.0.1:1;sentinel://127.0.0.1:2/0?sentinel_password={BROKER}",
]
DATABASE_URLS = [
    f"postgresql://me:{DATABASE}@127.0.0.1:1/x",
    f"postgresql://{DATABASE}@127.0.0.1:1/x",
    f"postgresql://127.0.0.1:1/x?password={DATABASE}&user=me",
]


def settings_of(broker: str, database: str) -> Settings:
    """Settings with a secret in each of these."""
    return load_settings(
        _env_file=None,
        aquilax_api_key=KEY,
        aquilax_base_url="http://127.0.0.1:1",
        feedback_sentinel_master="mymaster" if broker.startswith("sentinel") else None,
        feedback_broker_url=broker,
        feedback_database_url=database,
    )


def told_of(error: BaseException) -> Iterator[str]:
    """All that an error tells: itself, what it holds, and whatever is behind it, with the variables of our code."""
    yield from _variables(error)
    behind: BaseException | None = error
    while behind is not None:
        yield from (str(behind), repr(behind), repr(behind.args), repr(vars(behind)))
        behind = behind.__cause__ or behind.__context__
    yield "".join(traceback.format_exception(error))


def _variables(error: BaseException) -> Iterator[str]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals["__name__"].startswith("producer."):
            yield from (repr(value) for value in frame.f_locals.values())


def of_the_producer(settings: Settings) -> Iterator[str]:
    """What a backend may see of it."""
    made = FeedbackProducer(
        settings.feedback_broker_url.get_secret_value(), sentinel_master=settings.feedback_sentinel_master
    )
    with made:
        yield from (repr(made), repr(vars(made)), str(made._address), repr(vars(made._address)))
        with pytest.raises(ProducerError) as caught:
            made.enqueue("77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", True, org="o", group="g")
    yield from told_of(caught.value)


def of_celery(settings: Settings) -> Iterator[str]:
    """What ``celery report``, ``inspect conf``, ``inspect stats``, a worker's banner and Flower show."""
    app = create_app(settings)
    connection = app.connection()
    yield from (app.bugreport(), app.conf.humanize(censored=True), connection.as_uri(), repr(connection))
    yield repr(app.conf.broker_transport_options)
    yield json.dumps({name: value for name, value in connection.info().items() if name != "password"}, default=repr)
    yield json.dumps(inspect_stats(settings))
    app.close()


def of_settings(settings: Settings) -> Iterator[str]:
    """However they are printed."""
    yield from (repr(settings), str(settings), repr(vars(settings)), settings.model_dump_json())
    broker = BrokerUrl.read(settings.feedback_broker_url.get_secret_value(), settings.feedback_sentinel_master)
    yield from (repr(broker), broker.shown, shown(settings.feedback_database_url.get_secret_value()))


def of_the_client(settings: Settings) -> Iterator[str]:
    """AquilaX' own."""
    client = AquilaX(
        settings.aquilax_base_url,
        settings.require_api_key(),
        timeout=settings.feedback_request_timeout,
        connections=1,
    )
    with client:
        yield from (repr(client), repr(vars(client)), repr(client.probe_key()))


def of_the_database(settings: Settings) -> Iterator[str]:
    """What a command says of it, and what a driver says that repeats how it was told to connect."""
    url = settings.feedback_database_url.get_secret_value()
    store = DeadLetterStore.connect(url)
    with pytest.raises(DeadLetterStoreUnavailable) as caught:
        check_schema(store.engine)
    store.close()
    yield database_outage(settings, caught.value)
    refusal = DeadLetterStoreUnavailable(f'could not connect with "user=me password={DATABASE}" at {url}')
    yield database_outage(settings, refusal)


def of_a_log(settings: Settings) -> Iterator[str]:
    """Whatever is written into it."""
    redact = Redactor(secrets_of(settings))
    urls = (settings.feedback_broker_url.get_secret_value(), settings.feedback_database_url.get_secret_value())
    for secret in (*SECRETS, *urls):
        for line in (f"with {secret}!", f"{{'password': '{secret}'}}", f"X-AX-KEY: {secret}", secret.upper()):
            yield from map(str, redact({"event": line, "exception": f"Error: {line}"}).values())


@pytest.mark.parametrize("database", DATABASE_URLS[:1])
@pytest.mark.parametrize("broker", BROKER_URLS)
@pytest.mark.parametrize("road", [of_the_producer, of_celery, of_settings, of_a_log])
def test_no_road_shows_a_secret_of_the_broker(
    road: Callable[[Settings], Iterator[str]], broker: str, database: str
) -> None:
    """Wherever in its URL it stands."""
    for text in road(settings_of(broker, database)):
        assert not shows(text), text


@pytest.mark.parametrize("database", DATABASE_URLS)
@pytest.mark.parametrize("road", [of_settings, of_the_client, of_the_database, of_a_log])
def test_no_road_shows_a_secret_of_the_database_or_the_key(
    road: Callable[[Settings], Iterator[str]], database: str
) -> None:
    """Wherever in its URL it stands."""
    for text in road(settings_of(BROKER_URLS[0], database)):
        assert not shows(text), text


def shows(text: Any) -> bool:
    """Whether a text shows any of the secrets, as it is or percent-encoded."""
    plain = str(text).lower().replace("%2d", "-").replace("%2f", "/").replace("%2b", "+")
    return any(secret in plain for secret in SECRETS)


def test_a_word_alone_before_the_host_is_the_password() -> None:
    """As it is to redis-cli; redis-py and Kombu take it for a user, which they show."""
    broker = BrokerUrl.read("redis://s3cret@host/0")

    assert broker.redis.startswith("redis://:s3cret@host")
    assert broker.kombu == "redis://:s3cret@host/0"
    assert broker.shown == "redis://:***@host/0"
    assert BrokerUrl.read("redis://me:@host/0").shown == "redis://me:***@host/0"


def test_no_signature_shows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `help()` and editors do; a default that holds the environment is one that was read at import."""
    monkeypatch.setenv("A_SECRET", KEY)
    looked_at = 0
    for package in (producer, worker):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__") or ".sandbox" in module.name:
                continue
            for thing in _callables(importlib.import_module(module.name)):
                text = str(inspect.signature(thing))
                looked_at += 1
                assert "environ(" not in text
                assert KEY not in text
    assert looked_at > 1000


def _callables(module: Any) -> Iterator[Callable[..., Any]]:
    for thing in vars(module).values():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        for one in [thing, *(vars(thing).values() if inspect.isclass(thing) else ())]:
            one = getattr(one, "__func__", one)  # noqa: PLW2901 - of a classmethod, what it calls
            if inspect.isfunction(one):
                yield one
