from __future__ import annotations

import pytest

from worker.operations.dashboard.access_control import Binding, Caller, is_simple, rejection
from worker.policy.request_origin import cross_site

LOOPBACK = Binding(has_login=False, address="127.0.0.1", unix_socket="")
HERE = Caller(peer="127.0.0.1", host="127.0.0.1:5555", forwarded=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
@pytest.mark.parametrize("host", ["127.0.0.1:5555", "localhost:5555", "[::1]:5555", "flower.localhost"])
def test_on_loopback_nobody_is_asked(address: str, host: str) -> None:
    """Only programs and people of this machine can reach it."""
    binding = Binding(has_login=False, address=address, unix_socket="")
    assert rejection(binding, Caller(peer="::1", host=host, forwarded=False)) is None


@pytest.mark.parametrize("address", ["", "0.0.0.0", "::", "10.0.0.1", "flower.example", "localhost.example"])
def test_elsewhere_a_login_is_needed(address: str) -> None:
    """The answer says how to give Flower one."""
    binding = Binding(has_login=False, address=address, unix_socket="")
    assert "--basic-auth" in (rejection(binding, HERE) or "")
    assert rejection(Binding(has_login=True, address=address, unix_socket=""), HERE) is None


@pytest.mark.parametrize(
    "caller",
    [
        Caller(peer="10.0.0.1", host="127.0.0.1", forwarded=False),
        Caller(peer="127.0.0.1", host="127.0.0.1", forwarded=True),
        Caller(peer="127.0.0.1", host="127.0.0.1.attacker.example", forwarded=False),
        Caller(peer="127.0.0.1", host="", forwarded=False),
        Caller(peer="127.0.0.1", host="[", forwarded=False),
    ],
    ids=str,
)
def test_a_request_from_elsewhere_is_rejection(caller: Caller) -> None:
    """Also on a Flower that listens on loopback alone."""
    assert rejection(LOOPBACK, caller)


def test_a_socket_is_for_others() -> None:
    """Flower lets everybody on the machine write to it, and a proxy in front of it brings the world."""
    assert rejection(Binding(has_login=False, address="127.0.0.1", unix_socket="/run/flower.sock"), HERE)


@pytest.mark.parametrize(
    ("origin", "site", "refused"),
    [
        (None, None, False),  # no browser, or an old one: the token decides
        ("http://127.0.0.1:5555", "same-origin", False),
        ("http://127.0.0.1:5555", None, False),
        ("http://127.0.0.1:5555", "same-site", True),
        ("http://127.0.0.1:5555", "cross-site", True),
        ("http://127.0.0.1:5555", "none", True),
        ("http://127.0.0.1:8000", None, True),
        ("https://attacker.example", "same-origin", True),
        ("null", None, True),
    ],
)
def test_a_change_comes_from_our_own_page(*, origin: str | None, site: str | None, refused: bool) -> None:
    """By what browsers say of the page that sent it."""
    assert bool(cross_site(host="127.0.0.1:5555", origin=origin, site=site)) is refused


@pytest.mark.parametrize(
    ("content_type", "requested_with", "simple"),
    [
        ("application/json", "curl", False),
        ("Application/JSON; charset=utf-8", "curl", False),
        ("application/json", None, True),
        ("application/json", "", True),
        ("text/plain", "curl", True),
        ("text/plain; application/json", "curl", True),
        ("", "curl", True),
    ],
)
def test_the_api_takes_what_a_browser_would_ask_about(
    *, content_type: str, requested_with: str | None, simple: bool
) -> None:
    """Of the requests that a page of another site can send without asking, none is of this kind."""
    assert is_simple(content_type=content_type, requested_with=requested_with) is simple


def test_a_refused_origin_is_told_what_a_proxy_must_pass_on() -> None:
    """Both addresses are named, and nothing else that a header may hold."""
    reason = cross_site(host="127.0.0.1:5555", origin="https://tools.example\x1b[31m\u202e:8443", site="same-origin")

    assert reason is not None
    assert "of 'https://tools.example[31m:8443', to a server that it calls '127.0.0.1:5555'" in reason
    assert "`proxy_set_header Host $http_host;`" in reason
