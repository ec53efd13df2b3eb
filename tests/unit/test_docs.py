"""The documents say what is so: settings, links, commands, targets and code."""

from __future__ import annotations

import asyncio
import re
import shlex
import tomllib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
import pytest
from kombu import pools
from pydantic import SecretStr

from docs.definitions import definitions
from producer import FeedbackEvent
from tests.support.processes import ROOT, RedisServer
from worker.database.models import State
from worker.database.replay_models import ReplayState, RowState
from worker.operations.cli import main
from worker.settings import Settings

if TYPE_CHECKING:
    from enum import StrEnum
    from pathlib import Path

    from pydantic.fields import FieldInfo

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.md"), *ROOT.glob("examples/*.md")]
)
FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _code(path: Path, language: str) -> list[str]:
    return [match["code"] for match in FENCED.finditer(path.read_text()) if match["language"] == language]


def _calls(program: str) -> list[str]:
    """Every call of a program in the documents' code, fenced or in backticks."""
    calls = []
    for document in DOCUMENTS:
        text = document.read_text()
        calls += re.findall(rf"^\s*\$ (?:docker compose exec \w+ )?({program} .+)$", text, re.MULTILINE)
        calls += re.findall(rf"`({program} [^`]+)`", text)
    return calls


@pytest.fixture(params=DOCUMENTS, ids=_name)
def document(request: pytest.FixtureRequest) -> Path:
    """Each of the documents."""
    path: Path = request.param
    return path


def test_the_table_of_settings_is_the_code() -> None:
    """Every setting, in the code's order, with its default, its unit and its meaning."""
    text = (ROOT / "docs" / "settings.md").read_text()
    table = [line for line in text.splitlines() if re.match(r"\| `(AQUILAX|FEEDBACK)_", line)]
    assert table == [_row(name, field) for name, field in Settings.model_fields.items()]


def _row(name: str, field: FieldInfo) -> str:
    unit = " seconds" if isinstance(field.default, timedelta) else ""
    return f"| `{name.upper()}` | {_default(field.default)} |{unit} | {field.description} |"


def _default(default: object) -> str:
    match default:
        case None:
            return "none"
        case bool():
            return "`yes`" if default else "`no`"
        case SecretStr():
            return f"`{default.get_secret_value()}`"
        case timedelta():
            return f"`{default.total_seconds():.10g}`"
        case _:
            return f"`{default}`"


def test_every_relative_link_leads_somewhere(document: Path) -> None:
    """To a file, and to what the link names in it: a heading, or in a Python file what it defines."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = document.parent / file if file else document
        assert path.exists(), target
        assert not anchor or anchor in _anchors(path), target


def _anchors(path: Path) -> set[str]:
    if path.suffix == ".py":
        return set(definitions(path))
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_make_target_exists() -> None:
    """And the two that a newcomer needs are named."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {call.split()[1] for call in _calls("make")}
    assert {"demo", "test"} <= named <= set(targets)


def test_every_command_and_option_exists() -> None:
    """Every `aquilax-feedback …` in the documents is one that the program takes."""
    calls = _calls("aquilax-feedback")
    assert len(calls) > 20
    for call in calls:
        for each in _alternatives(call.split("#")[0]):
            _check_call(shlex.split(each)[1:])


def _alternatives(call: str) -> list[str]:
    """The calls that ``a|b|c`` stands for."""
    if not (choice := re.search(r"[\w-]+(?:\|[\w-]+)+", call)):
        return [call]
    return [call.replace(choice[0], word) for word in choice[0].split("|")]


def _check_call(words: list[str]) -> None:
    command: click.Command = main
    context = click.Context(main)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, words


def test_every_extra_exists() -> None:
    """`pip` only warns about an extra that it does not know, and installs too little."""
    named = {
        extra
        for document in DOCUMENTS
        for extras in re.findall(r"aquilax-feedback\[([a-z,]+)\]", document.read_text())
        for extra in extras.split(",")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert named == set(project["optional-dependencies"])


def test_the_code_for_threads_enqueues(valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the README shows first is what a backend developer will paste."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", valkey.url)
    pasted = _run(_code(ROOT / "README.md", "python")[0])
    with pasted["producer"]:
        assert pasted["pressed"](REQUEST_ID, True, "my-org", "my-group") is True
        assert pasted["pressed"]("nonsense", True, "my-org", "my-group") is False
        assert _queued(valkey) == 1
        valkey.run.pause()
        try:
            assert pasted["pressed"](REQUEST_ID, True, "my-org", "my-group") is False
        finally:
            valkey.run.thaw()


def test_the_code_for_asyncio_enqueues(valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second thing that is pasted."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", valkey.url)
    pasted = _run(_code(ROOT / "README.md", "python")[1])
    event = FeedbackEvent(request_id=REQUEST_ID, status=False, org="my-org", group="my-group")

    async def use() -> int:
        async with pasted["producer"]:
            await pasted["pressed"](event)
            imported: int = await pasted["imported"]([event] * 3)
            return imported

    assert asyncio.run(use()) == 3
    assert _queued(valkey) == 4


def test_the_code_for_other_celery_clients_enqueues(valkey: RedisServer) -> None:
    """It needs nothing of ours."""
    code = _code(ROOT / "README.md", "python")[2]
    assert "producer" not in code
    _run(code.replace("redis://127.0.0.1:6379/0", valkey.url))
    # Kombu keeps its pools for the process: one that was only closed would fail the next app of this URL.
    pools.reset()
    assert _queued(valkey) == 1


def test_all_code_in_the_documents_is_run_here() -> None:
    """A new block of Python needs a test. Those of the guides are parts of the examples, which have tests."""
    blocks = {_name(path): found for path in DOCUMENTS if (found := _code(path, "python"))}
    assert len(blocks.pop("README.md")) == 3
    assert set(blocks) == {f"docs/guides/{guide}.md" for guide in ("django", "fastapi", "flask", "outbox", "testing")}
    for page, found in blocks.items():
        linked = re.findall(r"\(\.\./\.\./(examples/\w+\.py)\)", (ROOT / page).read_text())
        examples = [(ROOT / example).read_text() for example in linked]
        for block in found:
            assert any(block in example for example in examples), f"{page} shows what no example has:\n{block}"


def _run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own README, to see that it works
    return names


def _queued(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.llen("feedback"))


@pytest.mark.parametrize(
    ("heading", "states"), [("A dead letter", State), ("A replay", ReplayState), ("A replay", RowState)]
)
def test_every_state_is_described(heading: str, states: type[StrEnum]) -> None:
    """As the commands and the pages spell it."""
    section = (ROOT / "docs" / "states.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    described = {
        name for row in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE) for name in re.findall(r"\w+", row)
    }

    assert set(states) <= described
    assert described <= set(states) | {each for known in (ReplayState, RowState) for each in known}


@pytest.mark.parametrize(("picture", "states"), [("event-states", State), ("replay-states", ReplayState)])
def test_every_state_is_drawn(picture: str, states: type[StrEnum]) -> None:
    """A dead letter that is being replayed is an event in the queue again."""
    drawn = re.findall(r'class="head middle"[^>]*>([^<]+)<', (ROOT / "docs" / f"{picture}.svg").read_text())

    assert set(states) - {State.REPLAYING} <= {name for each in drawn for name in each.split(", ")}


def test_each_step_of_an_event_leads_to_its_code() -> None:
    """From the producer to the outcome, in the order in which it goes; that the links lead there is tested above."""
    page = (ROOT / "docs" / "one-event.md").read_text()
    steps = re.findall(r"^(\d)\. \*\*(\w+)\.\*\* (.+?)(?=^\d\. |^A dead)", page, re.MULTILINE | re.DOTALL)

    assert [int(number) for number, _, _ in steps] == list(range(1, 10))
    assert [name.lower() for _, name, _ in steps] == [
        "producer", "redis", "fetch", "request", "task", "delivery", "client", "policy", "outcome",
    ]  # fmt: skip
    assert all(re.search(r"\]\(\.\./\w+/[^)]*\.(?:py#\w|lua)", text) for _, _, text in steps)


def test_the_glossary_says_each_term_once_and_where_it_lives() -> None:
    """With a link, which the test of the links follows."""
    page = (ROOT / "docs" / "glossary.md").read_text()
    rows = [row for row in re.findall(r"^\| (.+) \|$", page, re.MULTILINE) if not row.startswith(("Term", "---"))]
    terms = [term for row in rows for term in row.split(" | ")[0].split(", ")]

    assert len(rows) > 40
    assert len(set(terms)) == len(terms)
    assert all("](../" in row.split(" | ")[2] for row in rows)
