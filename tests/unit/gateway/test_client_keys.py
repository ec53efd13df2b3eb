"""The file of keys: what is written, who may read it, and that a gateway follows it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import command, succeed
from worker.gateway.client_keys import ClientKeys
from worker.gateway.key_file import KeyFileError, add_key, read_keys, revoke_key

if TYPE_CHECKING:
    from pathlib import Path


def test_the_file_has_the_hash_and_never_the_key(keys_file: Path, key: str) -> None:
    """Only its owner may read or write it."""
    assert key not in keys_file.read_text()
    assert keys_file.stat().st_mode & 0o777 == 0o600
    assert [known.name for known in read_keys(keys_file)] == ["backend"]


def test_a_key_is_its_clients_alone(keys_file: Path, key: str) -> None:
    """Each has one of its own."""
    other = add_key(keys_file, "other")
    keys = ClientKeys(keys_file)

    assert [keys.name_of(each.encode()) for each in (key, other, "", "x" * 1000)] == ["backend", "other", None, None]


def test_a_running_gateway_follows_the_file_and_keeps_its_keys_if_it_breaks(
    keys_file: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Within a second; and a broken file is an error in the log that shows nothing of it."""
    now = 0.0
    keys = ClientKeys(keys_file, clock=lambda: now)
    new = add_key(keys_file, "new")
    assert keys.name_of(new.encode()) is None

    now = 1.0
    assert keys.name_of(new.encode()) == "new"

    revoke_key(keys_file, "backend")
    now = 2.0
    assert keys.name_of(key.encode()) is None

    keys_file.write_text('{"keys": [')
    now = 3.0
    assert keys.name_of(new.encode()) == "new"
    assert "the keys stay as they were" in caplog.text


@pytest.mark.parametrize("mode", [0o622, 0o604, 0o660])
def test_a_file_that_others_may_change_or_read_is_refused(mode: int, keys_file: Path, key: str) -> None:
    """Who may write it may let any client in. A group may read it: Kubernetes mounts secrets so."""
    assert key
    keys_file.chmod(0o640)
    read_keys(keys_file)

    keys_file.chmod(mode)
    with pytest.raises(KeyFileError, match=r"open to others .*: chmod 600"):
        read_keys(keys_file)


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", '{"version": 2, "keys": []}', '{"keys": [{"name": "a"}]}', "\xff",
        '{"keys": [{"name": "A B", "sha256": "00", "created_at": "2026-01-01T00:00:00Z"}]}',
    ],
)  # fmt: skip
def test_what_is_no_file_of_keys_is_refused_by_name(content: str, keys_file: Path) -> None:
    """The message names the file."""
    keys_file.write_bytes(content.encode("latin-1"))
    keys_file.chmod(0o600)

    with pytest.raises(KeyFileError, match=r"keys\.json"):
        read_keys(keys_file)


def test_keys_that_are_added_at_once_are_all_there(keys_file: Path) -> None:
    """Each writes the whole file, so they take turns."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add_key(keys_file, f"client-{number}"), range(24)))

    assert len(read_keys(keys_file)) == 24
    assert {file.name for file in keys_file.parent.iterdir()} == {".keys.json.lock", "keys.json"}


def test_the_commands_add_list_and_revoke(keys_file: Path) -> None:
    """The key is printed once, and is in no list."""
    environment = {"FEEDBACK_GATEWAY_KEYS_FILE": str(keys_file)}

    key = succeed(environment, "gateway", "keys", "add", "chat").strip()
    listed = succeed(environment, "gateway", "keys", "list")
    succeed(environment, "gateway", "keys", "revoke", "chat")

    assert key.startswith("axf_")
    assert listed.startswith("chat  20")
    assert key not in listed
    assert json.loads(keys_file.read_text()) == {"version": 1, "keys": []}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("add", "A name"), "is no name"),
        (("add", "backend"), "backend has a key already"),
        (("revoke", "other"), "there is no key of the name 'other'"),
    ],
)
def test_a_command_that_can_not_be_done_says_why(
    arguments: tuple[str, ...], complaint: str, keys_file: Path, key: str
) -> None:
    """And ends with status 1."""
    assert key
    ended = command({"FEEDBACK_GATEWAY_KEYS_FILE": str(keys_file)}, "gateway", "keys", *arguments)

    assert ended.exit_code == 1
    assert complaint in ended.output


def test_without_the_setting_the_commands_say_so() -> None:
    """With status 2, as for any setting."""
    ended = command({}, "gateway", "keys", "list")

    assert (ended.exit_code, "FEEDBACK_GATEWAY_KEYS_FILE is not set" in ended.output) == (2, True)


def test_a_folder_that_is_missing_is_named_with_the_fix(tmp_path: Path) -> None:
    """The first key of a new gateway, as its page has it."""
    path = tmp_path / "feedback" / "keys.json"

    with pytest.raises(KeyFileError, match=f"make its folder first, mkdir -p {path.parent}"):
        add_key(path, "backend")
