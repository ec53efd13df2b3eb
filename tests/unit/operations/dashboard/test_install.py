from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click
import flower
from click.testing import CliRunner
from flower import urls
from flower.views.error import NotFoundErrorHandler

from worker.operations.dashboard.flower_hook import hook
from worker.operations.dashboard.install import Templates, install
from worker.operations.dashboard.page import TEMPLATES
from worker.operations.dashboard.routes import ROUTES

if TYPE_CHECKING:
    import pytest

FLOWERS = Path(flower.__file__).parent / "templates"


def test_the_navbar_has_two_more_tabs_and_keeps_flowers_own() -> None:
    """Else an operator would not find the pages; a Flower with another navbar must not lose its tabs."""
    own = (FLOWERS / "navbar.html").read_text()
    loader = Templates(ours=TEMPLATES, flowers=FLOWERS)
    code = loader.load("navbar.html").code
    for name in ("main", "workers", "tasks", "broker", "feedback-overview", "feedback-causes", "feedback-trace"):
        assert f"'{name}'" in code
    assert own.index("</ul>") > own.index("reverse_url('broker')")


def test_the_page_of_a_delivery_leads_to_what_became_of_it() -> None:
    """The request_id is in what Flower knows of the task's arguments; other tasks have none, or no feedback."""
    loader = Templates(ours=TEMPLATES, flowers=FLOWERS)
    name = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"

    def row_of(task_name: str, kwargs: str | None) -> str:
        task = SimpleNamespace(name=task_name, kwargs=kwargs)
        row = loader.load("feedback_task.html").generate(task=task, reverse_url=lambda _: "/feedback/trace")
        return row.decode()

    assert "'feedback-trace'" in loader.load("task.html").code
    assert f'href="/feedback/trace?request_id={name}"' in row_of(
        "feedback.deliver", f"{{'request_id': '{name.upper()}'}}"
    )
    assert not row_of("feedback.deliver", "{'request_id': '...'}").strip()
    assert not row_of("feedback.deliver", None).strip()
    assert not row_of("another.task", f"{{'request_id': '{name}'}}").strip()


def test_every_template_can_be_compiled() -> None:
    """Ours, and Flower's with our navbar."""
    loader = Templates(ours=TEMPLATES, flowers=FLOWERS)
    for file in [*TEMPLATES.glob("*.html"), *FLOWERS.glob("*.html")]:
        assert loader.load(file.name).code


def test_no_name_of_ours_hides_one_of_flowers() -> None:
    """Theirs would win or lose by the folder's order."""
    assert not {file.name for file in TEMPLATES.iterdir()} & {file.name for file in FLOWERS.iterdir()}


def test_no_template_leaves_anything_unescaped_but_the_token() -> None:
    """Tornado escapes every other expression; no script and no style stands in a page."""
    for file in TEMPLATES.glob("*.html"):
        text = file.read_text().replace("{% raw xsrf_form_html() %}", "")
        assert "{% raw" not in text
        assert "autoescape" not in text
        assert "style=" not in text
        assert " on" + "click" not in text
        assert "<script>" not in text


def test_every_form_that_changes_something_has_the_token() -> None:
    """Without it the form would be refused."""
    for file in TEMPLATES.glob("*.html"):
        for form in file.read_text().split("<form ")[1:]:
            head, _, rest = form.partition(">")
            assert ('method="post"' in head) == ("xsrf_form_html" in rest.split("</form>")[0]), file.name


def test_the_handlers_stand_before_the_one_that_catches_everything() -> None:
    """And once, however often they are put there."""
    install()
    install()
    assert urls.handlers[-1] == (".*", NotFoundErrorHandler)
    assert tuple(urls.handlers[-1 - len(ROUTES) : -1]) == ROUTES
    assert sum(handler is ROUTES[0] for handler in urls.handlers) == 1


def test_flowers_command_installs_it_first_and_is_wrapped_once() -> None:
    """Whichever way it is called, with its own arguments."""
    called = []

    @click.command()
    @click.option("--port")
    @click.pass_context
    def command(ctx: click.Context, port: str) -> None:
        called.append((ctx.info_name, port))

    hook(command)
    wrapped = command.callback
    hook(command)
    assert command.callback is wrapped
    assert CliRunner().invoke(command, ["--port=7"], prog_name="flower").exit_code == 0
    assert called == [("flower", "7")]
    assert isinstance(urls.settings["template_loader"], Templates)


def test_without_flower_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setattr("worker.operations.dashboard.flower_hook.sys", SimpleNamespace(modules={}))
    hook()
