"""Who may come in and who may change what, in every mode of Flower's login; against requests as attackers send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tornado.web import create_signed_value

from tests.support.dead_letter_records import a_record, add, rows_of
from tests.support.flower import ServedFlower, Visitor, served_flower
from worker.database.audit_log import actions
from worker.database.models import State
from worker.dead_letters.replays.queries import plans
from worker.operations.dashboard.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore

ANN = ("ann", "a:secret")
LOGIN: dict[str, Any] = {"basic_auth": ["ann:a:secret"]}
OAUTH: dict[str, Any] = {"auth": "ann@example.com"}
API = {"X-Requested-With": "a test"}
JSON_POSTS = (
    "/api/feedback/hold",
    "/api/feedback/resume",
    "/api/feedback/replays",
    "/api/feedback/replays/1/pause",
    "/api/feedback/discards",
)
FORM_POSTS = (
    "/feedback/hold",
    "/feedback/resume",
    "/feedback/dead-letters/replay",
    "/feedback/dead-letters/discard",
    "/feedback/replays/1/pause",
)
PAGES = (
    "/feedback",
    "/feedback/dead-letters",
    "/feedback/dead-letters/rows",
    "/feedback/dead-letters/1",
    "/feedback/dead-letters/1/raw",
    "/feedback/dead-letters/replay",
    "/feedback/dead-letters/discard",
    "/feedback/replays",
    "/feedback/audit",
)
API_PAGES = ("overview", "causes", "dead-letters", "dead-letters/1", "preview/replay", "replays", "audit")


@pytest.fixture
def serve(
    store: DeadLetterStore,  # noqa: ARG001 - so that the table is there
    sqlite_url: str,
    valkey: RedisServer,
) -> Callable[..., AbstractContextManager[ServedFlower]]:
    """Serve Flower with these options."""
    return lambda **options: served_flower(broker_url=valkey.url, database_url=sqlite_url, **options)


@pytest.fixture
def store(sqlite_store: DeadLetterStore) -> DeadLetterStore:
    """One dead letter, which must stay as it is."""
    add(sqlite_store, a_record())
    return sqlite_store


def untouched(store: DeadLetterStore, valkey: RedisServer) -> bool:
    """Whether nothing was changed."""
    with valkey.client() as client:
        held = client.exists("feedback:hold")
    rows = {row.state for row in rows_of(store)}
    return not held and not actions(store.engine) and not plans(store.engine) and rows == {State.DEAD}


@pytest.mark.parametrize(
    "options",
    [{"address": ""}, {"address": "0.0.0.0"}, {"address": "192.0.2.1"}, {"unix_socket": "/tmp/flower.sock"}],  # noqa: S108 - a name, which is not opened
    ids=str,
)
def test_without_a_login_nothing_is_shown_beyond_loopback(
    serve: Callable[..., AbstractContextManager[ServedFlower]],
    store: DeadLetterStore,
    valkey: RedisServer,
    options: dict[str, Any],
) -> None:
    """Neither a page nor the API, and the answer says what to do."""
    with serve(**options) as flower:
        for path in (*PAGES, *(f"/api/feedback/{name}" for name in API_PAGES)):
            answer = flower.get(path)
            assert answer.status_code == 403
            assert "--basic-auth" in answer.text
            assert "Request ID" not in answer.text
        for path in JSON_POSTS:
            assert flower.post(path, json={"comment": "so"}, headers=API).status_code == 403
        assert untouched(store, valkey)


@pytest.mark.parametrize(
    "headers",
    [{"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=x"}, {"Via": "1.1 x"}, {"Host": "attacker.example"}],
    ids=str,
)
def test_loopback_means_this_machine_by_its_own_name(
    serve: Callable[..., AbstractContextManager[ServedFlower]], headers: dict[str, str]
) -> None:
    """A proxy brings others along; and a stranger's name may be made to mean 127.0.0.1 (DNS rebinding)."""
    with serve() as flower:
        assert flower.get("/feedback").status_code == 200
        assert flower.get("/feedback", headers=headers).status_code == 403
        assert flower.get("/api/feedback/causes", headers=headers).status_code == 403


def test_with_a_password_nobody_else_comes_in(
    serve: Callable[..., AbstractContextManager[ServedFlower]], store: DeadLetterStore, valkey: RedisServer
) -> None:
    """Wherever Flower listens."""
    with serve(address="0.0.0.0", **LOGIN) as flower:
        for path in (*PAGES, *(f"/api/feedback/{name}" for name in API_PAGES)):
            for wrong in (None, ("ann", "wrong"), ("bob", "a:secret")):
                answer = flower.get(path, auth=wrong)
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"].startswith("Basic")
                assert "Request ID" not in answer.text
        for path in JSON_POSTS:
            assert flower.post(path, json={"comment": "so"}, headers=API).status_code == 401
        assert untouched(store, valkey)
        assert flower.get("/feedback/dead-letters", auth=ANN).status_code == 200


def test_the_audit_knows_whose_password_it_was(
    serve: Callable[..., AbstractContextManager[ServedFlower]], store: DeadLetterStore
) -> None:
    """The name, and not the password."""
    with serve(**LOGIN) as flower:
        assert flower.session(auth=ANN).send("/feedback/hold", comment="so").status_code == 303
        assert flower.post("/api/feedback/resume", json={}, headers=API, auth=ANN).status_code == 200
        assert {action.actor for action in actions(store.engine)} == {"ann"}
        assert "secret" not in flower.get("/feedback/audit", auth=ANN).text


def test_with_an_account_elsewhere_one_logs_in_first(
    serve: Callable[..., AbstractContextManager[ServedFlower]], store: DeadLetterStore, valkey: RedisServer
) -> None:
    """Pages lead to Flower's login; the API and every change are refused."""
    with serve(address="0.0.0.0", **OAUTH) as flower:
        for path in PAGES:
            answer = flower.get(path)
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/login?next=")
        for name in API_PAGES:
            assert flower.get(f"/api/feedback/{name}").status_code == 401
        for path in JSON_POSTS:
            assert flower.post(path, json={"comment": "so"}, headers=API).status_code == 401
        for path in FORM_POSTS:
            assert flower.post(path, data={"comment": "so"}).status_code == 403
        assert untouched(store, valkey)

        logged_in = _logged_in(flower)
        assert logged_in.send("/feedback/hold", comment="so").status_code == 303
        assert actions(store.engine)[0].actor == "ann@example.com"
        assert _logged_in(flower, "bob@example.com").send("/feedback/hold", comment="so").status_code == 403


def _logged_in(flower: ServedFlower, user: str = "ann@example.com") -> Visitor:
    visitor = flower.session()
    value = create_signed_value(flower.app.settings["cookie_secret"], "user", user).decode()
    visitor.session.cookies.set("user", value, domain="127.0.0.1")
    return visitor


@pytest.mark.parametrize("mode", [{}, LOGIN, OAUTH], ids=["no login", "password", "account"])
def test_a_form_of_another_site_changes_nothing(
    serve: Callable[..., AbstractContextManager[ServedFlower]],
    store: DeadLetterStore,
    valkey: RedisServer,
    mode: dict[str, Any],
) -> None:
    """Not in any mode of Flower's login: not without the token, and not from elsewhere with it."""
    with serve(**mode) as flower:
        visitor = _logged_in(flower) if mode is OAUTH else flower.session(auth=ANN if mode is LOGIN else None)
        visitor.get("/feedback")
        for path in FORM_POSTS:
            for headers in (
                {"Sec-Fetch-Site": "cross-site"},
                {"Sec-Fetch-Site": "same-site"},
                {"Sec-Fetch-Site": "none"},
                {"Sec-Fetch-Site": "", "Origin": "http://127.0.0.1:1"},
                {"Origin": "null"},
                {"Origin": "https://attacker.example"},
            ):
                assert visitor.send(path, headers=headers, comment="so", expected="1").status_code == 403, headers
            tokenless = visitor.session.post(f"{flower.url}{path}", data={"comment": "so", "expected": "1"})
            assert tokenless.status_code == 403
            wrong = visitor.session.post(f"{flower.url}{path}", data={"comment": "so", "_xsrf": "x" * 32})
            assert wrong.status_code == 403
        assert untouched(store, valkey)


@pytest.mark.parametrize("mode", [{}, LOGIN, OAUTH], ids=["no login", "password", "account"])
def test_the_api_takes_only_what_no_foreign_page_can_send(
    serve: Callable[..., AbstractContextManager[ServedFlower]],
    store: DeadLetterStore,
    valkey: RedisServer,
    mode: dict[str, Any],
) -> None:
    """JSON with a header of its own; a browser asks first (CORS), and is told no. A browser's login changes nothing."""
    with serve(**mode) as flower:
        visitor = _logged_in(flower) if mode is OAUTH else flower.session(auth=ANN if mode is LOGIN else None)
        body, json_type = b'{"comment": "so"}', {"Content-Type": "application/json"}
        for path in JSON_POSTS:
            for headers in (
                {"Content-Type": "text/plain"} | API,
                {"Content-Type": "application/x-www-form-urlencoded"} | API,
                json_type,
                json_type | API | {"Origin": "https://attacker.example"},
                json_type | API | {"Sec-Fetch-Site": "cross-site"},
            ):
                answer = visitor.session.post(f"{flower.url}{path}", data=body, headers=headers)
                assert answer.status_code == 403, headers
            asked = visitor.session.options(
                f"{flower.url}{path}",
                headers={"Origin": "https://attacker.example", "Access-Control-Request-Method": "POST"},
            )
            assert not [name for name in asked.headers if name.lower().startswith("access-control")]
        assert untouched(store, valkey)


def test_flowers_open_api_does_not_open_ours(
    serve: Callable[..., AbstractContextManager[ServedFlower]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FLOWER_UNAUTHENTICATED_API lets every page of the web read Flower's own API."""
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
    with serve() as flower:
        assert flower.get("/api/task/types").headers["Access-Control-Allow-Origin"] == "*"
        for path in ("/feedback", "/api/feedback/causes"):
            assert "Access-Control-Allow-Origin" not in flower.get(path).headers


def test_read_only_is_read_only(
    serve: Callable[..., AbstractContextManager[ServedFlower]], store: DeadLetterStore, valkey: RedisServer
) -> None:
    """Everything can be looked at, nothing changed, and no button offers it."""
    with serve(read_only=True) as flower:
        for path in PAGES:
            answer = flower.get(path)
            assert answer.status_code in {200, 404}
            assert 'method="post"' not in answer.text
        for path in FORM_POSTS:
            answer = flower.session().send(path, comment="so", expected="1")
            assert answer.status_code == 403
            assert "read-only" in answer.text
        for path in JSON_POSTS:
            assert flower.post(path, json={"comment": "so"}, headers=API).status_code == 403
        assert untouched(store, valkey)


def test_nothing_is_changed_by_looking(
    serve: Callable[..., AbstractContextManager[ServedFlower]], store: DeadLetterStore, valkey: RedisServer
) -> None:
    """What changes something is a POST: a link, a picture or a prefetch never does."""
    with serve() as flower:
        for path in ("/feedback/hold", "/feedback/resume", "/feedback/replays/1/pause", "/api/feedback/hold"):
            assert flower.get(path).status_code == 405
        for path in (
            "/feedback/dead-letters/replay?comment=so&expected=1",
            "/feedback/dead-letters/discard?comment=so&expected=1",
        ):
            assert flower.get(path).status_code == 200
        assert untouched(store, valkey)


def test_every_answer_tells_browsers_to_keep_others_out(
    serve: Callable[..., AbstractContextManager[ServedFlower]],
) -> None:
    """No frame, no guessing of types, no copy kept, no foreign script: on pages, in the API, and on refusals."""
    with serve() as flower:
        for path in (*PAGES, "/api/feedback/causes", "/feedback/dead-letters/4711", "/feedback/replays?before=x"):
            headers = flower.get(path).headers
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert "script-src 'self';" in headers["Content-Security-Policy"]


def test_every_route_is_one_of_ours() -> None:
    """None stands beside the doors that are tested here, but for the style and the script."""
    from worker.operations.dashboard.handler import Handler  # noqa: PLC0415 - as a class, for this alone

    assert [route.name for route in ROUTES if not issubclass(route.handler_class, Handler)] == ["feedback-static"]
