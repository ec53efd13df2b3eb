"""Each part of the chart, run as it is rendered: command, environment, secrets' files, probes, and its end."""

from __future__ import annotations

import base64
import math
import signal
import socket
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine

from producer import FeedbackEvent, FeedbackProducer, outbox
from tests.support.chart import EVERYTHING, Chart
from tests.support.pods import Pods, answers
from tests.support.processes import RedisServer, Running, eventually
from tests.support.sandbox import KEY, RunningSandbox
from worker.gateway.key_file import add_key
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIN = "operator:a flower:password"
OFF = {
    "extraVolumes": [],
    "gateway": {
        "tls": {"existingSecret": ""},
        "autoscaling": {"enabled": False},
        "spool": {"enabled": True},
        "preStopSeconds": 2,
        "shutdownTimeout": 5,
    },
    "flower": {"extraArgs": []},
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that any user reaches, as pytest's own is not."""
    with TemporaryDirectory(prefix="pods-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def secrets(folder: Path, tmp_path: Path, valkey: RedisServer, postgres_url: str) -> dict[str, str]:
    """What stands in each file, and a client's key of the gateway."""
    keys = tmp_path / "keys.json"
    client = add_key(keys, "chat-backend")
    return {
        "AQUILAX_API_KEY": KEY,
        "FEEDBACK_BROKER_URL": valkey.url,
        "FEEDBACK_DATABASE_URL": postgres_url,
        "FEEDBACK_OUTBOX_URL": f"sqlite:///{folder}/backend.sqlite3",
        "FLOWER_BASIC_AUTH": LOGIN,
        "keys.json": keys.read_text(),
        "client": client,
    }


@pytest.fixture
def pods(chart: Chart, folder: Path, secrets: dict[str, str], sandbox: RunningSandbox) -> Pods:
    """All parts, for a Redis, a database and an AquilaX of this machine; none of them runs yet."""
    ports = {
        "worker": {"health": {"port": free_port()}, "metrics": {"port": free_port()}, "shutdownTimeout": 5}
        | {"autoscaling": {"messagesPerWorker": 100}},
        "exporter": {"port": free_port()},
        "gateway": {"port": free_port()},
        "flower": {"port": free_port()},
        "relay": {"port": free_port()},
        "settings": {"AQUILAX_BASE_URL": sandbox.url},
    }
    rendered = chart.render(EVERYTHING, OFF, ports)
    flower = rendered.environment("worker")["FEEDBACK_FLOWER_URL"]
    moved = {flower: f"http://127.0.0.1:{rendered.container('flower')['ports'][0]['containerPort']}"}
    return Pods(rendered, folder, secrets, moved)


def migrated(pods: Pods) -> None:
    """Run the Job."""
    ended = pods.call("migrate")
    assert ended.returncode == 0, ended.stderr


def stopped(pods: Pods, part: str, process: Running) -> None:
    """Stop a part as the kubelet does, and see that it need not be killed: uvicorn ends by the signal, at its end."""
    assert process.stop(pods.grace(part)) in {0, -signal.SIGTERM}, process.output()


def is_well(pods: Pods, part: str, kind: str) -> bool:
    """Whether a probe of a part is content."""
    return pods.probe(part, kind)[0] == 200


def presses(valkey: RedisServer, number: int) -> list[str]:
    """Enqueue so many."""
    events = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="o", group="g") for _ in range(number)]
    with FeedbackProducer(valkey.url, timeout=5) as producer:
        producer.enqueue_many(events)
    return [event.request_id for event in events]


def test_a_first_delivery(pods: Pods, valkey: RedisServer, sandbox: RunningSandbox) -> None:
    """The database is made, a worker is ready, the doctor is content, a press arrives, and both end in time."""
    login = {"Authorization": f"Basic {base64.b64encode(LOGIN.encode()).decode()}"}
    migrated(pods)
    migrated(pods)
    with pods.start("worker") as worker, pods.start("flower") as flower:
        for part in ("worker", "flower"):
            for kind in ("startup", "readiness", "liveness"):
                eventually(partial(is_well, pods, part, kind), what=f"{part}: {kind}")
        (request_id,) = presses(valkey, 1)
        eventually(lambda: sandbox.client.received_for(request_id).delivered == 1, what="delivery")
        page = pods.url("flower", {"port": "http", "path": "/feedback"})

        assert (answers(page)[0], answers(page, login)[0]) == (401, 200)
        doctor = pods.call("doctor")
        assert doctor.returncode == 0, doctor.stdout
        stopped(pods, "worker", worker)
        stopped(pods, "flower", flower)
    said = worker.output() + flower.output() + doctor.stdout
    assert "delivered" in said
    assert not [secret for secret in pods.secrets.values() if secret in said]


def test_a_worker_is_alive_and_not_ready_while_its_database_is_unavailable(pods: Pods) -> None:
    """Kubernetes waits for it, and does not start it over and over."""
    pods = replace(pods, secrets={**pods.secrets, "FEEDBACK_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"})
    with pods.start("worker") as worker:
        eventually(lambda: "schema is not checked" in pods.probe("worker", "readiness")[1], what="it waits for it")
        assert pods.probe("worker", "liveness")[0] == 200
        stopped(pods, "worker", worker)


def keda(pods: Pods, trigger: dict[str, Any]) -> float:
    """What KEDA's scaler `metrics-api` reads: the value of the first sample of that name, without labels."""
    metadata = trigger["metadata"]
    service = pods.objects.of("Service", "exporter")
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert urlsplit(metadata["url"]).netloc == f"{host}:{service['spec']['ports'][0]['port']}"
    assert metadata["format"] == "prometheus"
    status, page = answers(pods.url("exporter", {"port": "metrics", "path": urlsplit(metadata["url"]).path}))
    assert status == 200
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    (value,) = [sample.value for sample in samples if sample.name == metadata["valueLocation"]]
    return float(value)


def workers_wanted(pods: Pods) -> int:
    """How many workers KEDA makes of it: none while no trigger is active, else the most that one of them asks for."""
    scaled = pods.objects.of("ScaledObject")["spec"]
    values = [(keda(pods, each), each["metadata"]) for each in scaled["triggers"]]
    if not any(value > float(metadata.get("activationTargetValue", 0)) for value, metadata in values):
        return int(scaled["minReplicaCount"])
    most = max(math.ceil(value / float(metadata["targetValue"])) for value, metadata in values)
    return min(max(most, 1), int(scaled["maxReplicaCount"]))


def test_from_no_worker_to_many_and_back(pods: Pods, valkey: RedisServer, sandbox: RunningSandbox) -> None:
    """The numbers that KEDA goes by are there without a worker, grow with the work, and end with it.

    While nothing is sent, as the key is refused, one worker is enough: more would change nothing.
    """
    migrated(pods)
    with pods.start("exporter") as exporter:
        eventually(partial(is_well, pods, "exporter", "readiness"), what="it has started")
        assert workers_wanted(pods) == 0
        presses(valkey, 1)
        assert workers_wanted(pods) == 1
        presses(valkey, 250)
        assert workers_wanted(pods) == 3
        with pods.start("worker"):
            eventually(lambda: workers_wanted(pods) == 0, what="all is delivered")
            assert sandbox.client.received().requests == 251
            sandbox.client.behave(revoked_key=True)
            presses(valkey, 350)
            eventually(lambda: workers_wanted(pods) == 1, what="a hold")
        assert workers_wanted(pods) == 1
        stopped(pods, "exporter", exporter)


def test_every_trigger_says_what_kedas_admission_wants(pods: Pods) -> None:
    """With a fallback each has to be of AverageValue, and to say so; and none counts for two."""
    triggers = pods.objects.of("ScaledObject")["spec"]["triggers"]

    assert {each["metricType"] for each in triggers} == {"AverageValue"}
    assert (
        len({each["metadata"]["valueLocation"] for each in triggers}) == len({each["name"] for each in triggers}) == 3
    )


@pytest.mark.parametrize(
    ("settings", "seconds"), [({}, 60), ({"FEEDBACK_LEASE": 100}, 125), ({"FEEDBACK_LEASE": 9999}, 1800)]
)
def test_workers_are_taken_away_no_faster_than_a_lease_ends(
    chart: Chart, settings: dict[str, int], seconds: int
) -> None:
    """Whether fewer suffice shows when what they held is back; an autoscaler takes half an hour at the most."""
    values = {"settings": settings, "worker": {"shutdownTimeout": 10}}
    config = chart.render(EVERYTHING, values).of("ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]

    assert {each["periodSeconds"] for each in config["behavior"]["scaleDown"]["policies"]} == {seconds}


def test_the_gateway_takes_presses_also_while_redis_does_not(pods: Pods, valkey: RedisServer) -> None:
    """With the keys of its Secret; what it spools is in its volume."""
    press = f"/api/v2/ai/feedback/{uuid.uuid4()}/true?org=o&group=g"
    key = {"X-AX-KEY": pods.secrets["client"]}
    with pods.start("gateway") as gateway:
        eventually(lambda: pods.probe("gateway", "readiness")[0] == 200, what=f"it is ready; {gateway.output()}")
        url = pods.url("gateway", {"port": "http", "path": press})
        assert (answers(url)[0], answers(url, key)[0]) == (401, 200)
        valkey.run.pause()
        try:
            assert answers(url, key)[0] == 200
            assert pods.probe("gateway", "readiness")[0] == 200
        finally:
            valkey.run.thaw()
        assert list((pods.folder / "volume-spool" / "spool").iterdir())
        stopped(pods, "gateway", gateway)


def test_the_relay_carries_until_it_is_told_to_stop(pods: Pods, valkey: RedisServer) -> None:
    """From the database of its Secret; an SQLite file stands for a server here."""
    engine = create_engine(pods.secrets["FEEDBACK_OUTBOX_URL"])
    outbox.create_table(engine)
    with engine.begin() as connection:
        outbox.add(connection, FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="o", group="g"))
    engine.dispose()
    Path(pods.secrets["FEEDBACK_OUTBOX_URL"].removeprefix("sqlite:///")).chmod(0o666)
    with pods.start("relay") as relay, valkey.client() as client:
        eventually(lambda: client.llen("feedback") == 1, what="it is carried")
        (port,) = [each["containerPort"] for each in pods.objects.container("relay")["ports"]]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        stopped(pods, "relay", relay)
