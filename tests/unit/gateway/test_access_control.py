"""Who may ask, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway import PRESS, client_of
from worker.gateway.rate_limit import RateLimit

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from producer.testing import AsyncRecordingProducer


@pytest.mark.parametrize("path", [PRESS, "/metrics"])
@pytest.mark.parametrize(
    "headers",
    [[], [("X-AX-KEY", "axf_wrong")], [("Authorization", "Basic abc")], [("X-AX-KEY", "{key}"), ("X-AX-KEY", "other")]],
)
async def test_without_a_valid_key_nothing_is_answered(
    headers: list[tuple[str, str]], path: str, producer: AsyncRecordingProducer, keys_file: Path, key: str
) -> None:
    """The key is looked at before the request. The key itself is in no answer."""
    async with client_of(producer, keys_file=keys_file) as client:
        answer = await client.get(path, headers=[(name, value.format(key=key)) for name, value in headers])

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json().keys() == {"code", "message"}
    assert answer.json()["code"] == 401
    producer.refute_enqueued()


async def test_the_key_may_come_as_http_has_it(producer: AsyncRecordingProducer, keys_file: Path, key: str) -> None:
    """For clients that know bearer tokens alone, such as Prometheus."""
    async with client_of(producer, keys_file=keys_file) as client:
        answer = await client.get(PRESS, headers={"Authorization": f"bearer {key}"})

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json"])
async def test_probes_need_no_key(path: str, producer: AsyncRecordingProducer, keys_file: Path, key: str) -> None:
    """An orchestrator has none."""
    assert key
    async with client_of(producer, keys_file=keys_file) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.head(path)).status_code == 200


async def test_without_a_file_of_keys_programs_of_this_machine_may_ask(producer: AsyncRecordingProducer) -> None:
    """For trying it, and for a gateway beside its backend in one pod."""
    async with client_of(producer) as client:
        answer = await client.get(PRESS)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("10.0.0.7", {}),
        ("127.0.0.1", {"Host": "rebound.example.com"}),
        ("127.0.0.1", {"Origin": "http://evil.example.com"}),
        ("127.0.0.1", {"Sec-Fetch-Site": "cross-site"}),
    ],
)
async def test_without_a_file_of_keys_others_are_refused(
    peer: str, headers: dict[str, str], producer: AsyncRecordingProducer
) -> None:
    """Also pages that a browser on this machine shows: an image's address would be enough for a press."""
    async with client_of(producer, peer=peer) as client:
        answer = await client.get(PRESS, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, 403)
    producer.refute_enqueued()


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(
    producer: AsyncRecordingProducer, keys_file: Path, key: str
) -> None:
    """One a minute here, so that the second one is too many."""
    async with client_of(producer, keys_file=keys_file, rate=1 / 60) as client:
        client.headers["X-AX-KEY"] = key
        first, second = await client.get(PRESS), await client.get(PRESS)

    assert (first.status_code, second.status_code) == (200, 429)
    assert 1 <= int(second.headers["retry-after"]) <= 60


def test_the_tokens_of_a_key_come_back_with_time() -> None:
    """Up to a second's worth; each key has its own."""
    now = 0.0
    limit = RateLimit(2, clock=lambda: now)

    assert [limit.wait("a") for _ in range(3)] == [0, 0, 1]
    assert limit.wait("b") == 0
    now = 100
    assert [limit.wait("a") for _ in range(3)] == [0, 0, 1]


async def test_pages_of_allowed_origins_may_ask(client: httpx.AsyncClient) -> None:
    """Off unless origins are set: then a browser finds no header that lets its page read the answer."""
    answer = await client.get(PRESS, headers={"Origin": "https://chat.example.com"})

    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("origin", "status"), [("https://chat.example.com", 200), ("https://evil.example.com", 400)])
async def test_a_preflight_needs_no_key_but_an_allowed_origin(
    origin: str, status: int, producer: AsyncRecordingProducer, keys_file: Path, key: str
) -> None:
    """Browsers send no key with it."""
    assert key
    asks = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-ax-key"}
    async with client_of(producer, keys_file=keys_file, allowed_origins="https://chat.example.com") as client:
        answer = await client.options(PRESS, headers=asks)

    assert answer.status_code == status
    assert answer.headers.get("access-control-allow-origin") == (origin if status == 200 else None)
