from __future__ import annotations

import pytest

from worker.sandbox.control import refused

OWN = {"box.example", "192.0.2.7"}


@pytest.mark.parametrize(
    "host", [None, "127.0.0.1:8480", "localhost", "a.localhost:1", "[::1]:8480", "BOX.example:8480", "192.0.2.7"]
)
def test_a_name_of_this_machine_is_taken(host: str | None) -> None:
    """Loopback, what it was told to listen on, and the address that the connection came to."""
    assert refused(host=host, origin=None, site=None, own_names=OWN) is None
    assert refused(host=host, origin=None, site="none", own_names=OWN) is None


@pytest.mark.parametrize(
    "host", ["", "attacker.example", "box.example.attacker.example", "192.0.2.8", "[", "127.0.0.1@x"]
)
def test_a_name_that_a_stranger_can_point_here_is_refused(host: str) -> None:
    """The reason says what it was."""
    assert f"Host is {host!r}" in str(refused(host=host, origin=None, site=None, own_names=OWN))


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("http://attacker.example", None),
        ("null", None),
        ("http://127.0.0.1:1", None),
        (None, "cross-site"),
        (None, "same-site"),
        ("http://127.0.0.1:1", "none"),
    ],
)
def test_a_page_of_another_origin_is_refused(origin: str | None, site: str | None) -> None:
    """Also one of another port of this machine."""
    assert "another" in str(refused(host="127.0.0.1:8480", origin=origin, site=site, own_names=OWN))
