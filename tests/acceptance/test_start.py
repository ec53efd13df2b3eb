"""A worker that can't do its work refuses to start, and says what to do about it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import redis
from sqlalchemy import create_engine, text

from tests.support.clusters import redis_cluster
from tests.support.processes import VALKEY, eventually, running
from worker.database.schema import VERSION_TABLE

if TYPE_CHECKING:
    from worker.sandbox.stack import LocalStack

WORKER = [sys.executable, "-m", "celery", "-A", "worker", "worker"]


def _refusal(stack: LocalStack) -> str:
    """What a worker says that ends with a failure, and soon."""
    ended = subprocess.run(WORKER, env=stack.environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.fixture
def stack(stack: LocalStack) -> LocalStack:
    """A broker, a database and a key."""
    stack.environment["AQUILAX_API_KEY"] = "secret-key-of-ours"
    return stack


def test_a_missing_schema_is_named_with_the_command_that_makes_it(stack: LocalStack) -> None:
    """Without the table no dead letter could be kept."""
    stack.environment["FEEDBACK_DATABASE_URL"] = f"sqlite:///{stack.folder}/empty.sqlite3"

    assert "run `aquilax-feedback db upgrade`" in _refusal(stack)


def test_a_schema_of_another_release_is_named(stack: LocalStack) -> None:
    """A table whose columns are not ours would fail at the first dead letter."""
    engine = create_engine(stack.environment["FEEDBACK_DATABASE_URL"])
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'of-the-future'"))  # noqa: S608 - our name
    engine.dispose()

    assert "of-the-future" in _refusal(stack)


def test_a_variable_that_is_no_setting_is_warned_of(stack: LocalStack) -> None:
    """A typo changes nothing: it is said before anything else, with the name that is meant."""
    del stack.environment["AQUILAX_API_KEY"]
    stack.environment |= {"FEEDBACK_CONCURENCY": "9", "FEEDBACK_PORT": "tcp://10.0.0.1:6379"}

    said = _refusal(stack)

    assert "FEEDBACK_CONCURENCY is set, and no setting: rename or unset it: it is FEEDBACK_CONCURRENCY" in said
    assert "FEEDBACK_PORT" not in said


def test_a_missing_key_is_named(stack: LocalStack) -> None:
    """Every event would be held."""
    del stack.environment["AQUILAX_API_KEY"]

    assert "AQUILAX_API_KEY is not set" in _refusal(stack)


@pytest.mark.parametrize(
    "wrong",
    [
        {
            "FEEDBACK_RETRY_BASE": "soon",
            "FEEDBACK_MAX_ATTEMPTS": "0",
            "AQUILAX_BASE_URL": "http://aquilax.example",
            "FEEDBACK_BROKER_URL": "amqp://guest:hidden-password@host",
        },
        {"FEEDBACK_DATABASE_URL": "oracle://scott:hidden-password@host/db"},
        {"FEEDBACK_BROKER_URL": "redis://:hidden-password@127.0.0.1/0?health_check_interval=30"},
        {"CELERY_BROKER_URL": "redis://:hidden-password@127.0.0.1/0?health_check_interval=30"},
    ],
    ids=["many", "a database", "an option", "Celery's own"],
)
def test_wrong_settings_are_named_without_their_values(stack: LocalStack, wrong: dict[str, str]) -> None:
    """Each variable and the fix, and never a password."""
    stack.environment |= wrong

    refusal = _refusal(stack)

    assert [name for name in wrong if name not in refusal] == []
    assert "hidden-password" not in refusal
    assert "secret-key-of-ours" not in refusal


def test_a_right_that_is_missing_is_named_and_the_worker_goes_on_once_it_has_it(stack: LocalStack) -> None:
    """Redis 7 gives a new login no channels: Celery would end the worker with a traceback."""
    url = stack.environment["FEEDBACK_BROKER_URL"]
    client: Any = redis.Redis.from_url(url)
    with closing(client):
        client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "resetchannels", "+@all", "-@dangerous")
        stack.environment["FEEDBACK_BROKER_URL"] = url.replace("://", "://app:secret@")
        with running([*WORKER, "--loglevel=INFO"], log=stack.folder / "worker.log", env=stack.environment) as worker:
            eventually(lambda: "give the broker's login its channels" in worker.output())
            eventually(lambda: worker.output().count("Connected to") > 3)
            assert worker.output().count("give the broker's login its channels") == 1
            client.execute_command("ACL", "SETUSER", "app", "allchannels")
            eventually(lambda: " ready." in worker.output())
            eventually(lambda: "Redis works again after" in worker.output())


def test_keys_that_are_missing_are_named_once(stack: LocalStack) -> None:
    """Redis refuses before there is a channel: Celery would try hundreds of times in ten seconds."""
    url = stack.environment["FEEDBACK_BROKER_URL"]
    client: Any = redis.Redis.from_url(url)
    with closing(client):
        client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~feedback*", "&*", "+@all")
        stack.environment["FEEDBACK_BROKER_URL"] = url.replace("://", "://app:secret@")
        with running([*WORKER, "--loglevel=INFO"], log=stack.folder / "worker.log", env=stack.environment) as worker:
            eventually(lambda: "give the broker's login its keys" in worker.output())
            eventually(lambda: len(client.acl_log()) > 0 and client.acl_log()[0]["count"] > 3)
            client.execute_command("ACL", "SETUSER", "app", "allkeys")
            eventually(lambda: " ready." in worker.output())

    assert worker.output().count("give the broker's login its keys") == 1
    assert "Frequent restarts" not in worker.output()


def test_a_cluster_is_named_and_the_worker_goes_on_asking(stack: LocalStack) -> None:
    """Serverless offers of Redis have one endpoint, and are clusters: the log says so once, and what to do."""
    with redis_cluster(VALKEY, stack.folder / "cluster", primaries=1, replicas=False) as cluster:
        stack.environment["FEEDBACK_BROKER_URL"] = cluster.servers[0].url
        with running([*WORKER, "--loglevel=INFO"], log=stack.folder / "worker.log", env=stack.environment) as worker:
            eventually(lambda: worker.output().count("Connected to") > 3)

            assert worker.output().count("cluster mode: name its nodes in FEEDBACK_BROKER_URL as redis+cluster://") == 1


def test_celerys_own_option_for_the_broker_is_refused(stack: LocalStack) -> None:
    """It is read by Celery alone, past every check of the URL: the other parts would be at another Redis."""
    url = "redis://:hidden-password@127.0.0.1/1?max_connections=2"
    command = [sys.executable, "-m", "celery", "-A", "worker", "-b", url, "inspect", "ping"]

    ended = subprocess.run(command, env=stack.environment, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert "name the Redis in FEEDBACK_BROKER_URL" in ended.stderr
    assert "hidden-password" not in ended.stdout + ended.stderr


def test_flower_has_started_when_a_monitor_listens_and_not_when_a_worker_does(
    stack: LocalStack, broker: redis.Redis
) -> None:
    """A worker subscribes after it has said that it is ready; what its monitor then misses, no test finds."""
    with broker.pubsub() as worker, broker.pubsub() as monitor:
        worker.psubscribe("/0.feedback.pidbox", "/0.feedback.events/worker.*")
        assert [worker.get_message(timeout=10) for _ in range(2)]
        assert stack.event_listeners() == 0

        monitor.psubscribe("/0.feedback.events/*")
        assert monitor.get_message(timeout=10)
        assert stack.event_listeners() == 1
