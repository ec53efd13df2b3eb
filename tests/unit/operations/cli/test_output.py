"""A command's output never ends it with a traceback: not in another encoding, a closed pipe, or on a full disk."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.support.processes import ROOT
from worker.operations.cli.output import CLOSED_PIPE, shown, whole_file
from worker.operations.cli.param_types import current_actor

_SAYING = """
import click, worker.operations.cli
from worker.operations.cli.output import json_text

@click.command()
def say() -> None:
    for _ in range({times}):
        click.echo("orgä → 10 …")
        click.echo(json_text({{"org": "orgä\\u202e"}}))

worker.operations.cli.main.get_command = lambda ctx, name: say
worker.operations.cli.main(["say"], prog_name="aquilax-feedback")
"""


def _say(encoding: str, *, times: int = 1, into: str = "") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", _SAYING.format(times=times)]
    if into:
        command = ["bash", "-c", f'"$@" {into}; exit ${{PIPESTATUS[0]}}', "-", *command]
    return subprocess.run(
        command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "koi8-r", "ascii"])
def test_every_encoding_carries_what_a_command_says(encoding: str) -> None:
    """A character that it lacks becomes one other, so that columns stay in line; JSON stays whole."""
    ended = _say(encoding)

    assert (ended.returncode, ended.stderr) == (0, b"")
    words, record = ended.stdout.decode("utf-8" if encoding == "ascii" else encoding).splitlines()
    assert len(words) == len("orgä → 10 …")
    assert json.loads(record) == {"org": "orgä\u202e"}
    assert "\u202e" not in record


def test_a_reader_that_has_gone_ends_a_command_quietly() -> None:
    """With the status that a shell has for it."""
    ended = _say("utf-8", times=20_000, into="| head -1")

    assert (ended.returncode, ended.stderr) == (CLOSED_PIPE, b"")


@pytest.mark.parametrize("times", [1, 20_000])
def test_a_full_disk_is_one_sentence(times: int) -> None:
    """Whether it is noticed while the command writes, or only at its end."""
    ended = _say("utf-8", times=times, into="> /dev/full")

    assert ended.returncode == 1
    assert ended.stderr == b"Error: the output can't be written: No space left on device\n"


def test_a_file_is_there_whole(tmp_path: Path) -> None:
    """And it takes the place of the one before only then."""
    file = tmp_path / "export.csv"
    file.write_text("before")

    with whole_file(file) as output:
        output.write("after")
        assert file.read_text() == "before"

    assert file.read_text() == "after"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("odd")])
def test_half_a_file_is_none(tmp_path: Path, failure: BaseException) -> None:
    """Half an export must not look like one, whatever cut it short."""
    expected = click.ClickException if isinstance(failure, OSError) else type(failure)

    with pytest.raises(expected) as raised:
        _write(tmp_path / "export.csv", then=failure)

    assert list(tmp_path.iterdir()) == []
    if isinstance(failure, OSError):
        assert str(raised.value) == f"{tmp_path}/export.csv can't be written: No space left on device"


def test_a_device_is_written_as_it_is() -> None:
    """Nothing could be put in its place."""
    with pytest.raises(click.ClickException, match=r"/dev/full can't be written: No space left on device"):
        _write(Path("/dev/full"))


def _write(path: Path, *, then: BaseException | None = None) -> None:
    with whole_file(path) as output:
        output.write("half")
        if then is not None:
            raise then


def test_text_of_others_is_a_part_of_one_line() -> None:
    """A hold's reason adds no line to a status, carries out no escape sequence, and turns nothing round."""
    assert shown("moved\nworkers  5\x1b[31m \u202eeurt") == "moved workers 5 [31m \\u202eeurt"


def test_a_uid_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run under any uid: OpenShift's, or runAsUser."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)
    with pytest.raises(KeyError):
        pwd.getpwuid(1_234_567)

    assert current_actor() == "uid 1234567"


def test_a_login_is_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As getpass finds it."""
    monkeypatch.setenv("LOGNAME", "ann")

    assert current_actor() == getpass.getuser() == "ann"


def test_every_line_of_a_command_goes_one_way() -> None:
    """Past `say` a foreign text could turn the terminal's text round."""
    sources = (ROOT / "worker" / "operations" / "cli").rglob("*.py")

    past = {source.name for source in sources if "click.echo(" in source.read_text()}

    assert past == {"output.py"}
