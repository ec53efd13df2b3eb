"""The file of AquilaX' keys: which org has which, what is wrong with it, and that it is read again."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from worker.clients.aquilax.key_reload import ReloadedKeys
from worker.clients.aquilax.keys import KeyRing, KeysFileError, ring_of
from worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "ax-pat-1234567890"
ACME = {"name": "acme", "key": SECRET, "orgs": ["acme", "acme-labs"]}
GLOBEX = {"name": "globex", "key": "ax-pat-of-globex", "orgs": ["globex"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "keys.json"


def write(path: Path, *keys: object, version: object = 1, mode: int = 0o600) -> None:
    """Write a file of keys."""
    path.write_text(json.dumps({"version": version, "keys": keys}))
    path.chmod(mode)


def settings(path: Path, default: str | None = None) -> Settings:
    """Settings that name the file."""
    return load_settings(_env_file=None, aquilax_keys_file=path, aquilax_api_key=default)


def names(ring: KeyRing, *orgs: str) -> list[str]:
    """The names of some orgs' keys."""
    return [ring.of(org).name for org in orgs]


def test_each_org_has_its_key_and_the_others_the_default(path: Path) -> None:
    """With or without a default."""
    write(path, ACME, GLOBEX)

    ring = ring_of(settings(path, default="the-default"))

    assert names(ring, "acme", "acme-labs", "globex", "initech") == ["acme", "acme", "globex", "default"]
    assert ring.secrets == {SECRET, "ax-pat-of-globex", "the-default"}
    assert ring.from_file
    alone = ring_of(settings(path))
    assert alone.of("initech").secret is None
    assert [key.name for key in alone.all] == ["acme", "globex"]


def test_without_a_file_one_key_is_for_all() -> None:
    """And a 401 is everyone's."""
    ring = ring_of(load_settings(_env_file=None, aquilax_api_key="one"))

    assert (names(ring, "acme"), ring.from_file) == (["default"], False)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (ACME | {"name": "Acme!"}, r"keys\[1\].name: expected"),
        (ACME | {"name": "default"}, "AQUILAX_API_KEY"),
        (GLOBEX, "another key 'globex'"),
        (ACME | {"key": ""}, r"keys\[1\].key: it is empty"),
        (ACME | {"key": f"{SECRET} and more"}, r"keys\[1\].key: expected a Personal Access Token"),
        (ACME | {"orgs": []}, r"keys\[1\].orgs: there is none"),
        (ACME | {"orgs": ["globex"]}, "'globex' is an org of the key 'globex' too"),
        (ACME | {"orgs": ["a\x00b"]}, r"keys\[1\].orgs: expected ids"),
        (ACME | {"orgs": "acme"}, r"Expected `array`"),
        (ACME | {"key": 1}, r"Expected `str`"),
        (ACME | {"org": "acme"}, "unknown field `org`"),
        ({"name": "acme"}, "missing required field `key`"),
    ],
)
def test_a_wrong_entry_is_named_without_its_key(path: Path, entry: dict[str, Any], problem: str) -> None:
    """With the fix."""
    write(path, GLOBEX, entry)

    with pytest.raises(KeysFileError, match=problem) as caught:
        ring_of(settings(path))

    assert str(caught.value).startswith(f"AQUILAX_KEYS_FILE: {path}")
    assert SECRET not in str(caught.value)


def test_a_file_that_is_none_is_refused(path: Path) -> None:
    """Whatever stands there."""
    with pytest.raises(KeysFileError, match="can't be read: No such file"):
        ring_of(settings(path))
    write(path, ACME, mode=0o644)
    with pytest.raises(KeysFileError, match=r"is open to others .*0644.*: chmod 600"):
        ring_of(settings(path))
    write(path, ACME, mode=0o440)
    assert ring_of(settings(path)).from_file
    path.chmod(0o600)
    write(path, ACME, version=2)
    with pytest.raises(KeysFileError, match="its version is 2: expected 1"):
        ring_of(settings(path))
    path.write_text(f'{{"version": 1, "keys": [{{"key": "{SECRET}"')
    with pytest.raises(KeysFileError, match="is no file of keys") as caught:
        ring_of(settings(path))
    assert SECRET not in str(caught.value)
    path.write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(KeysFileError, match="more than 1 MiB"):
        ring_of(settings(path))


def test_a_ring_shows_no_key(path: Path) -> None:
    """However it is printed."""
    write(path, ACME)
    ring = ring_of(settings(path))

    assert SECRET not in f"{ring!r} {ring.all!r} {vars(ring)!r}"


def test_a_changed_file_is_used_and_its_keys_are_secrets_first(path: Path) -> None:
    """The log tells how many there are, and which are new."""
    learned: list[frozenset[str]] = []
    write(path, ACME)
    keys = ReloadedKeys(settings(path), learned=learned.append)
    assert not keys.look()

    write(path, ACME | {"key": "rotated"}, GLOBEX)

    assert keys.look()
    assert names(keys.ring, "globex") == ["globex"]
    assert learned == [{SECRET}, {"rotated", "ax-pat-of-globex"}]
    assert (keys.reloads, keys.refusals, keys.problem) == (1, 0, "")
    assert not keys.look()


def test_a_bad_file_changes_nothing_and_is_said_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The keys of before stay in use until it is good again, also if it is as it was."""
    write(path, ACME)
    keys = ReloadedKeys(settings(path))
    before = path.read_bytes()

    path.write_text("{")
    with caplog.at_level(logging.INFO):
        assert not keys.look()
        assert not keys.look()

    assert names(keys.ring, "acme") == ["acme"]
    assert "is no file of keys" in keys.problem
    assert keys.refusals == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    path.write_bytes(before)
    assert not keys.look()
    assert keys.problem == ""
    path.unlink()
    assert not keys.look()
    assert "No such file" in keys.problem
