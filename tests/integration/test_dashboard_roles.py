"""Who may look and who may act: by Flower's own login, a proxy's, and API tokens; on our pages and on Flower's."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
from flower import urls
from requests.adapters import HTTPAdapter
from sqlalchemy import update
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import RequestHandler, create_signed_value

from tests.support.dashboard import API
from tests.support.dead_letter_records import a_record, add, rows_of
from tests.support.flower import ServedFlower, served_flower
from worker.database.api_tokens import ApiToken
from worker.database.audit_log import actions
from worker.database.models import State
from worker.dead_letters.replays.queries import plans
from worker.operations.dashboard.flower_guard import GuardedHandler
from worker.operations.dashboard.install import install
from worker.operations.dashboard.routes import ROUTES
from worker.operations.tokens import create_token, revoke_token
from worker.policy.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore

    Serve = Callable[..., AbstractContextManager[ServedFlower]]

ANN, EVE = ("ann", "a:secret"), ("eve", "e-secret")
LOGIN: dict[str, Any] = {"basic_auth": ["ann:a:secret", "eve:e-secret"], "address": "0.0.0.0"}
ANN_ACTS = {"feedback_dashboard_act": "ann, *@example.com"}
PROXY = {
    "feedback_dashboard_act": "ann, group:operators",
    "feedback_dashboard_proxy_addresses": "127.0.0.7, unix",
    "feedback_dashboard_proxy_header": "X-Forwarded-User",
    "feedback_dashboard_proxy_groups_header": "X-Forwarded-Groups",
}
CHANGING = ("post", "put", "patch", "delete")
STRANGER = "127.0.0.9"


@pytest.fixture
def store(sqlite_store: DeadLetterStore) -> DeadLetterStore:
    """One dead letter, which those who may only look leave as it is."""
    add(sqlite_store, a_record())
    return sqlite_store


@pytest.fixture
def serve(store: DeadLetterStore, sqlite_url: str, valkey: RedisServer) -> Serve:  # noqa: ARG001 - so that the table is there
    """Serve Flower with these options and settings."""
    return lambda **options: served_flower(broker_url=valkey.url, database_url=sqlite_url, **options)


@pytest.fixture
def token(store: DeadLetterStore) -> Callable[..., dict[str, str]]:
    """Make a token, and return the header that brings it."""

    def make(scope: Role, name: str = "ci") -> dict[str, str]:
        lasts = timedelta(days=1)
        return {"Authorization": "Bearer " + create_token(store.engine, name, scope=scope, lasts=lasts, actor="root")}

    return make


def untouched(store: DeadLetterStore, valkey: RedisServer) -> bool:
    """Whether nothing was changed but that tokens were made."""
    with valkey.client() as client:
        held = client.exists("feedback:hold")
    done = {action.action for action in actions(store.engine)} - {"token.create", "token.revoke"}
    return not held and not done and not plans(store.engine) and {row.state for row in rows_of(store)} == {State.DEAD}


def from_address(address: str) -> requests.Session:
    """Return a client at another address of this machine."""

    class FromThere(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
            super().init_poolmanager(*arguments, **named, source_address=(address, 0))

    session = requests.Session()
    session.mount("http://", FromThere())
    return session


def ours() -> Iterator[tuple[str, str]]:
    """Every method of our handlers that is not a GET: its name, and an address of it."""
    for route in ROUTES:
        for method in CHANGING:
            if getattr(route.handler_class, method) is not getattr(RequestHandler, method):
                yield method, _address(route.regex.pattern)


def flowers() -> Iterator[tuple[str, str]]:
    """The same of Flower's own handlers, as this release has them."""
    install()
    for handler in urls.handlers:
        pattern, kind = handler[:2] if isinstance(handler, tuple) else (handler.regex.pattern, handler.handler_class)
        for method in CHANGING:
            own = getattr(kind, method) is not getattr(RequestHandler, method)
            if own and issubclass(kind, GuardedHandler) and not kind.only_reads:
                yield method, _address(pattern)


def _address(pattern: str) -> str:
    """An address that a pattern of ours, or of Flower's, fits."""

    def fitting(group: re.Match[str]) -> str:
        words = (*_WORDS, *group[1].split("|"))
        return next((word for word in words if re.fullmatch(group[1], word)), group[0])

    return re.sub(r"\(([^()]*)\)", fitting, pattern.removesuffix("$"))


_WORDS = ("x", "1", "0123456789ab", "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6")


def test_there_is_something_to_refuse() -> None:
    """A walk over nothing would find nothing."""
    assert {address for _, address in ours()} >= {"/feedback/hold", "/api/feedback/replays/1/pause"}
    assert {address for _, address in flowers()} >= {
        "/api/worker/shutdown/x",
        "/api/task/revoke/x",
        "/api/task/apply/x",
    }
    assert not [address for _, address in (*ours(), *flowers()) if re.search(r"[\[\](){}|*+?$]", address)]


def test_those_who_may_only_look_change_nothing(serve: Serve, store: DeadLetterStore, valkey: RedisServer) -> None:
    """Every POST of ours, page or API, is refused with the reason; no page has a button; everything can be read."""
    with serve(settings=ANN_ACTS, **LOGIN) as flower:
        visitor = flower.session(auth=EVE)
        for method, path in ours():
            if path.startswith("/api/"):
                answer = requests.request(method, flower.url + path, json={}, headers=API, auth=EVE, timeout=60)
            else:
                answer = visitor.send(path, comment="so", expected="1")
            assert answer.status_code == 403, path
            assert "You may only look: FEEDBACK_DASHBOARD_ACT does not name eve." in answer.text, path
        for path in (
            "/feedback",
            "/feedback/dead-letters",
            "/feedback/dead-letters/1",
            "/feedback/dead-letters/replay",
        ):
            page = flower.get(path, auth=EVE)
            assert page.status_code == 200
            assert 'method="post"' not in page.text
        assert "does not name eve" in flower.get("/feedback/dead-letters/discard", auth=EVE).text
        assert flower.get("/api/feedback/overview", auth=EVE).status_code == 200
        assert untouched(store, valkey)

        assert 'method="post"' in flower.get("/feedback", auth=ANN).text
        assert flower.session(auth=ANN).send("/feedback/hold", comment="so").status_code == 303
        assert actions(store.engine)[0].actor == "ann"


def test_flowers_own_acts_are_refused_to_those_who_may_only_look(serve: Serve) -> None:
    """Else they could stop workers and revoke tasks there; ann comes as far as before."""
    with serve(settings=ANN_ACTS, **LOGIN) as flower:
        for method, path in flowers():
            refused = requests.request(method, flower.url + path, auth=EVE, timeout=60)
            assert (refused.status_code, refused.text) == (
                403,
                "You may only look: FEEDBACK_DASHBOARD_ACT does not name eve.",
            ), path
        assert flower.post("/api/worker/shutdown/nobody", auth=ANN).text == "Unknown worker 'nobody'"
        assert flower.post("/api/worker/shutdown/nobody", auth=("ann", "wrong")).status_code == 401
        for path in ("/workers", "/tasks", "/api/workers", "/api/tasks", "/api/task/types"):
            assert flower.get(path, auth=EVE).status_code == 200
        assert flower.post("/tasks/datatable", auth=EVE, data=_TABLE).status_code == 200
        assert flower.get("/healthcheck").status_code == 200


_TABLE = {
    "draw": "1",
    "start": "0",
    "length": "10",
    "search[value]": "",
    "order[0][column]": "0",
    "order[0][dir]": "asc",
} | {"columns[0][data]": "name"}


def test_read_only_is_stronger_than_every_role(serve: Serve, token: Callable[..., dict[str, str]]) -> None:
    """For ann and for a token that may act."""
    with serve(settings=ANN_ACTS, read_only=True, **LOGIN) as flower:
        for answer in (
            flower.post("/api/feedback/hold", json={"comment": "so"}, headers=API, auth=ANN),
            flower.post("/api/feedback/hold", json={"comment": "so"}, headers=token(Role.ACT)),
        ):
            assert answer.status_code == 403
            assert "--read_only" in answer.text


def test_without_a_login_the_rule_names_no_user(serve: Serve, store: DeadLetterStore, valkey: RedisServer) -> None:
    """It is not known who asks; `*` means them, too."""
    with serve(settings=ANN_ACTS) as flower:
        refused = flower.session().send("/feedback/hold", comment="so")
        assert refused.status_code == 403
        assert "no login here says who you are" in refused.text
        assert 'method="post"' not in flower.get("/feedback").text
        assert untouched(store, valkey)
    with serve(settings={"feedback_dashboard_act": "*"}) as flower:
        assert flower.session().send("/feedback/hold", comment="so").status_code == 303


def test_an_account_is_known_by_its_address(serve: Serve) -> None:
    """The e-mail address of --auth."""
    with serve(settings={"feedback_dashboard_act": "ann@*"}, auth=r".*@example.com") as flower:
        for user, status in (("ann@example.com", 303), ("eve@example.com", 403)):
            visitor = flower.session()
            value = create_signed_value(flower.app.settings["cookie_secret"], "user", user).decode()
            visitor.session.cookies.set("user", value, domain="127.0.0.1")
            assert visitor.send("/feedback/hold", comment="so").status_code == status


def test_a_refused_act_is_in_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """With who and what; not in the audit, which a reader could fill so."""
    with serve(settings=ANN_ACTS, **LOGIN) as flower:
        flower.post("/api/feedback/hold", json={"comment": "so"}, headers=API, auth=EVE)
        flower.post("/api/worker/shutdown/x", auth=EVE)
    assert "eve was refused POST /api/feedback/hold: You may only look" in caplog.text
    assert "eve was refused POST /api/worker/shutdown/x: You may only look" in caplog.text


def test_a_token_acts_under_its_own_name(
    serve: Serve, token: Callable[..., dict[str, str]], store: DeadLetterStore
) -> None:
    """It is a login by itself, and needs nothing that keeps foreign pages out: no browser sends it by itself."""
    with serve(**LOGIN) as flower:
        answer = flower.post("/api/feedback/hold", data=b'{"comment": "so"}', headers=token(Role.ACT))
        assert (answer.status_code, answer.json()["held"]) == (200, True)
        assert actions(store.engine)[0].actor == "token ci"
        assert flower.get("/api/feedback/overview", headers=token(Role.LOOK, "reader")).status_code == 200


def test_a_token_that_may_look_changes_nothing(
    serve: Serve, token: Callable[..., dict[str, str]], store: DeadLetterStore, valkey: RedisServer
) -> None:
    """Also on loopback without a login, where everyone may act otherwise."""
    look = token(Role.LOOK)
    for options in (LOGIN, {}):
        with serve(**options) as flower:
            for method, path in ours():
                if path.startswith("/api/"):
                    answer = requests.request(method, flower.url + path, json={}, headers=look, timeout=60)
                    assert (answer.status_code, answer.json()["error"]) == (
                        403,
                        "The token ci may only look: its scope is look.",
                    )
    assert untouched(store, valkey)


def test_a_token_is_for_our_api_alone(
    serve: Serve, token: Callable[..., dict[str, str]], store: DeadLetterStore, valkey: RedisServer
) -> None:
    """Neither for pages nor for what is Flower's, with a login and without."""
    act = token(Role.ACT)
    for options in (LOGIN, {}):
        with serve(**options) as flower:
            for path in ("/feedback", "/feedback/audit", "/workers", "/api/workers", "/api/task/types"):
                assert flower.get(path, headers=act).status_code == 401, path
            for method, path in flowers():
                assert requests.request(method, flower.url + path, headers=act, timeout=60).status_code in {401, 403}
            assert flower.post("/feedback/hold", data={"comment": "so"}, headers=act).status_code == 403
    assert untouched(store, valkey)


def test_a_token_opens_no_flower_that_is_closed(serve: Serve, token: Callable[..., dict[str, str]]) -> None:
    """Without a login Flower is for loopback, whatever a request brings."""
    with serve(address="0.0.0.0") as flower:
        assert flower.get("/api/feedback/audit", headers=token(Role.ACT)).status_code == 403


def test_a_token_is_refused_from_the_moment_it_is_revoked(
    serve: Serve, token: Callable[..., dict[str, str]], store: DeadLetterStore
) -> None:
    """On the same connection, and with a challenge that programs know; an unknown one is told nothing."""
    act = token(Role.ACT)
    with serve(**LOGIN) as flower, requests.Session() as program:
        program.headers.update(act)
        audit = f"{flower.url}/api/feedback/audit"
        assert program.get(audit, timeout=60).status_code == 200
        revoke_token(store.engine, "ci", actor="root")
        refused = program.get(audit, timeout=60)
        unknown = requests.get(audit, headers={"Authorization": "Bearer afb_" + "x" * 43}, timeout=60)
    for answer in (refused, unknown):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="aquilax-feedback", error="invalid_token"'
    assert "the token ci was revoked at" in refused.json()["error"]
    assert unknown.json()["error"] == "This login is refused: the token is not one of this dashboard."


def test_an_expired_token_is_refused(
    serve: Serve, token: Callable[..., dict[str, str]], store: DeadLetterStore
) -> None:
    """Without a second of grace."""
    act = token(Role.ACT)
    with store.engine.begin() as connection:
        connection.execute(update(ApiToken).values(expires_at=datetime.now(UTC)))
    with serve() as flower:
        refused = flower.post("/api/feedback/hold", json={"comment": "so"}, headers=act)
    assert refused.status_code == 401
    assert "has expired at" in refused.json()["error"]


def test_an_invalid_token_is_not_made_good_by_another_login(
    serve: Serve, token: Callable[..., dict[str, str]], store: DeadLetterStore, valkey: RedisServer
) -> None:
    """What was sent as a login counts: beside a proxy's user, and beside a password in a second header."""
    wrong, act = {"Authorization": "Bearer afb_" + "x" * 43}, token(Role.ACT)
    with serve(settings=PROXY) as flower, from_address("127.0.0.7") as proxy:
        user = {"X-Forwarded-User": "ann"}
        hold = f"{flower.url}/api/feedback/hold"
        assert proxy.post(hold, json={"comment": "so"}, headers=user | wrong | API, timeout=60).status_code == 401
        assert untouched(store, valkey)
        proxy.post(hold, json={"comment": "so"}, headers={"X-Forwarded-User": "eve"} | act, timeout=60)
        assert actions(store.engine)[0].actor == "token ci"  # one login counts, and it is what the program itself sent
    with serve(**LOGIN) as flower:
        basic = requests.Request("GET", "http://x", auth=ANN).prepare().headers["Authorization"]
        for pair in ((basic, act["Authorization"]), (act["Authorization"], basic)):
            answer = raw(flower, *(f"Authorization: {value}" for value in pair))
            assert answer.startswith("HTTP/1.1 401")
            assert "there is twice" in answer or "is there twice" in answer


def test_a_token_in_an_address_is_refused_and_not_logged(
    serve: Serve, token: Callable[..., dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Proxies and browsers keep addresses; so it is refused even where another login would do."""
    secret = token(Role.ACT)["Authorization"].removeprefix("Bearer ")
    caplog.set_level("INFO")
    with serve(**LOGIN) as flower:
        for path in (
            "/api/feedback/audit?token=",
            "/feedback?access_token=",
            "/workers?t=",
            "/nothing/",
            "/api/tasks?x=",
        ):
            for written in (secret, secret.replace("_", "%5F", 1)):
                answer = flower.get(path + written, auth=ANN)
                assert answer.status_code == (404 if path == "/nothing/" else 400)
                assert secret not in answer.text
    assert secret not in caplog.text
    assert secret[4:] not in caplog.text
    assert "afb_[redacted]" in caplog.text


def test_the_proxy_says_who_asks(serve: Serve, store: DeadLetterStore, valkey: RedisServer) -> None:
    """By name and by group, on our pages and on Flower's; without its header nothing is shown."""
    with serve(settings=PROXY, address="0.0.0.0") as flower, from_address("127.0.0.7") as proxy:

        def hold(**headers: str) -> int:
            return proxy.post(
                f"{flower.url}/api/feedback/hold", json={"comment": "so"}, headers=API | headers, timeout=60
            ).status_code

        for path in ("/feedback", "/api/feedback/audit", "/workers", "/tasks", "/api/tasks"):
            assert proxy.get(flower.url + path, timeout=60, allow_redirects=False).status_code == 401
            assert proxy.get(flower.url + path, headers={"X-Forwarded-User": "eve"}, timeout=60).status_code == 200
        shutdown = f"{flower.url}/api/worker/shutdown/nobody"
        assert (
            proxy.post(shutdown, headers={"X-Forwarded-User": "ann"}, timeout=60).status_code == 403
        )  # a page's token
        assert hold(**{"X-Forwarded-User": "eve"}) == 403
        assert hold(**{"X-Forwarded-User": "eve", "X-Forwarded-Groups": "readers"}) == 403
        assert untouched(store, valkey)
        assert hold(**{"X-Forwarded-User": "eve", "X-Forwarded-Groups": "readers, operators"}) == 200
        assert actions(store.engine)[0].actor == "eve"
        assert proxy.get(f"{flower.url}/healthcheck", timeout=60).status_code == 200


def test_a_form_of_flowers_needs_its_token_behind_a_proxy(serve: Serve) -> None:
    """The proxy's cookie comes by itself with what a page of another site sends, and Flower would not check it."""
    with serve(settings=PROXY) as flower, from_address("127.0.0.7") as proxy:
        proxy.headers.update({"X-Forwarded-User": "ann"})
        proxy.get(f"{flower.url}/workers", timeout=60)
        mark = {"X-XSRFToken": proxy.cookies["_xsrf"]}
        shutdown = f"{flower.url}/api/worker/shutdown/nobody"
        foreign = proxy.post(shutdown, headers=mark | {"Origin": "https://attacker.example"}, timeout=60)
        assert (foreign.status_code, "another origin" in foreign.text) == (403, True)
        assert proxy.post(shutdown, headers=mark, timeout=60).text == "Unknown worker 'nobody'"


@pytest.mark.parametrize("xheaders", [False, True])
def test_a_header_is_believed_by_the_connection_alone(
    serve: Serve, store: DeadLetterStore, valkey: RedisServer, *, xheaders: bool
) -> None:
    """Not by what another header says of its way, also where Flower's --xheaders takes that for the address."""
    claims = {"X-Forwarded-User": "ann", "X-Forwarded-For": "127.0.0.7", "X-Real-Ip": "127.0.0.7"} | API
    with serve(settings=PROXY, xheaders=xheaders, **LOGIN) as flower, from_address(STRANGER) as stranger:
        for path in ("/feedback", "/api/feedback/audit", "/workers", "/api/tasks"):
            for auth in (None, EVE):
                answer = stranger.get(flower.url + path, headers=claims, auth=auth, timeout=60)
                assert answer.status_code == 401, path
                assert "X-Forwarded-User comes from 127.0.0.9" in answer.text
        hold = f"{flower.url}/api/feedback/hold"
        assert stranger.post(hold, json={"comment": "so"}, headers=claims, timeout=60).status_code == 401
        assert untouched(store, valkey)
        assert stranger.get(f"{flower.url}/feedback", auth=EVE, timeout=60).status_code == 200  # by Flower's own login


def test_a_header_that_came_twice_is_no_login(serve: Serve) -> None:
    """One of them is the client's own."""
    with serve(settings=PROXY) as flower:
        for twice in (
            ["X-Forwarded-User: ann", "X-Forwarded-User: eve"],
            ["X-Forwarded-User: ann", "x-forwarded-user: ann"],
            ["X-Forwarded-User: eve,ann"],
            ["X-Forwarded-User: eve", "X-Forwarded-Groups: operators", "X-Forwarded-Groups: readers"],
        ):
            assert raw(flower, *twice, source="127.0.0.7").startswith("HTTP/1.1 401")
        assert raw(flower, "X-Forwarded-User: eve", source="127.0.0.7").startswith("HTTP/1.1 200")


def test_a_proxy_may_come_over_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    """Its other end has no address, and `unix` names it."""
    for settings, status in ((PROXY, 200), (PROXY | {"feedback_dashboard_proxy_addresses": "127.0.0.7"}, 401)):
        path = str(tmp_path / f"{status}.sock")
        with serve(settings=settings, unix_socket=path) as flower:
            server, listening = HTTPServer(flower.app), bind_unix_socket(path)
            flower.app.io_loop.add_callback(server.add_socket, listening)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(60)
                client.connect(path)
                assert _reply(client, "X-Forwarded-User: ann").startswith(f"HTTP/1.1 {status}")
            flower.app.io_loop.add_callback(server.stop)


def raw(flower: ServedFlower, *headers: str, source: str = "127.0.0.1") -> str:
    """Ask for the audit with these very headers, from this address, and return the whole answer."""
    host, port = flower.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60, source_address=(source, 0)) as client:
        return _reply(client, *headers)


def _reply(client: socket.socket, *headers: str) -> str:
    lines = ["GET /api/feedback/audit HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers, "", ""]
    client.sendall("\r\n".join(lines).encode())
    return b"".join(iter(lambda: client.recv(65536), b"")).decode()
