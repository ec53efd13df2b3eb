from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.operations.dashboard.proxy_login import LoginRefused, ProxiedUser, ProxyLogin
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def login(addresses: str = "10.0.0.7, 10.1.0.0/16, fd00::/8") -> ProxyLogin:
    """Return a proxy's login."""
    settings = load_settings(
        feedback_dashboard_proxy_addresses=addresses,
        feedback_dashboard_proxy_header="X-Forwarded-User",
        feedback_dashboard_proxy_groups_header="X-Forwarded-Groups",
        _env_file=None,
    )
    proxy = ProxyLogin.of(settings)
    assert proxy is not None
    return proxy


def sent(*users: str, groups: Sequence[str] = ()) -> Callable[[str], Sequence[str]]:
    """Return the headers of a request."""
    return lambda name: {"X-Forwarded-User": users, "X-Forwarded-Groups": groups}[name]


def test_without_the_setting_there_is_no_such_login() -> None:
    """Any program could name itself."""
    assert ProxyLogin.of(load_settings(_env_file=None)) is None


@pytest.mark.parametrize("peer", ["10.0.0.7", "10.1.255.3", "fd12::1", "::ffff:10.0.0.7"])
def test_the_proxy_is_believed_at_its_addresses(peer: str) -> None:
    """Also at one of IPv4 that a socket of IPv6 shows."""
    assert login().user(peer, sent("ann", groups=["ops, dev"])) == ProxiedUser("ann", ("ops", "dev"))


@pytest.mark.parametrize("peer", ["10.0.0.8", "::1", "127.0.0.1", "unix", "", "10.0.0.7.example", "::ffff:10.0.0.8"])
def test_a_header_from_elsewhere_is_refused_aloud(peer: str) -> None:
    """It is an attack, or the proxy has another address: neither is to be passed over."""
    with pytest.raises(LoginRefused, match="FEEDBACK_DASHBOARD_PROXY_ADDRESSES does not name"):
        login().user(peer, sent("ann"))


def test_without_the_header_the_proxy_says_nothing() -> None:
    """Then it is for Flower's own login, if it has one; groups alone say nothing."""
    assert login().user("10.0.0.7", sent()) is None
    assert login().user("192.0.2.1", sent(groups=["ops"])) is None


def test_a_unix_socket_is_believed_if_it_is_named() -> None:
    """It has no address that could be."""
    assert login("unix").user("unix", sent("ann")) == ProxiedUser("ann")
    with pytest.raises(LoginRefused):
        login("unix").user("127.0.0.1", sent("ann"))


@pytest.mark.parametrize(
    "users",
    [
        ("eve", "ann"),
        ("ann", "ann"),
        ("",),
        ("  ",),
        ("eve,ann",),
        ("a" * 129,),
        ("token ci",),
        ("without login, from 127.0.0.1",),
        ("an\x7fn",),
        ("ann\xa0",),
        ("an\xff",),
    ],
    ids=repr,
)
def test_a_user_who_can_not_be_told_apart_is_refused(users: tuple[str, ...]) -> None:
    """One of two headers is perhaps the client's own; and a name in the audit means one actor."""
    with pytest.raises(LoginRefused, match="X-Forwarded-User"):
        login().user("10.0.0.7", sent(*users))


def test_a_name_may_have_any_letters() -> None:
    """Proxies write UTF-8, which Tornado reads as Latin-1."""
    assert login().user("10.0.0.7", sent("Zoë Ö".encode().decode("latin-1"))) == ProxiedUser("Zoë Ö")


def test_groups_are_told_once() -> None:
    """A client's own beside the proxy's would make any user an operator."""
    assert login().user("10.0.0.7", sent("ann", groups=["a|b"])) == ProxiedUser("ann", ("a", "b"))
    with pytest.raises(LoginRefused, match="X-Forwarded-Groups is there 2 times"):
        login().user("10.0.0.7", sent("ann", groups=["readers", "operators"]))
