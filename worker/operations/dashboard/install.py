"""How the dashboard gets into Flower, which has no place for plugins.

Flower takes its handlers from a list and its templates from Tornado's loader, when its command runs. So before that,
our handlers go into the list, ahead of the one that catches everything, and its own are guarded (`flower_guard`); the
loader finds our templates beside Flower's, gives its navbar more tabs and a search, and the page of a task a link; and
no log of Tornado's has a token in it. No file of Flower's is changed, and all of its options work as ever.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tornado.template import BaseLoader, Template

from worker.policy.api_token import without_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tornado.routing import URLSpec

__all__ = ["Templates", "WithoutTokens", "install"]

_ADDED: Final = {
    "navbar.html": ("</ul>", '{% include "feedback_tabs.html" %}</ul>'),
    "task.html": ('<dl class="detail-list">', '<dl class="detail-list">{% include "feedback_task.html" %}'),
}
"""What Flower's own templates get. The first list of the navbar has the tabs: ours go to its end, so that a Flower with
one more tab keeps it. A task's page says first whose feedback it is."""

_LOGGERS: Final = ("tornado.access", "tornado.application", "tornado.general")


class Templates(BaseLoader):
    """Our templates and Flower's, some of which get parts of ours.

    Args:
        ours: The folder of ours. Each template stands directly in its folder.
        flowers: The folder of Flower's.
    """

    def __init__(self, *, ours: Path, flowers: Path) -> None:
        super().__init__(autoescape="xhtml_escape")
        self._folders = (ours, flowers)

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:  # noqa: ARG002 - the signature is Tornado's
        """Return the name: no template names another one by its folder."""
        return name

    def _create_template(self, name: str) -> Template:
        text = next(folder / name for folder in self._folders if (folder / name).is_file()).read_text(encoding="utf-8")
        if (ours := _ADDED.get(name)) is not None:
            text = text.replace(*ours, 1)
        return Template(text, name=name, loader=self)


class WithoutTokens(logging.Filter):
    """Takes API tokens out of a log: an address with one is refused, and Tornado logs what is refused."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        text = record.getMessage()
        if (clean := without_tokens(text)) != text:
            record.msg, record.args = clean, None
        return True


def install() -> None:
    """Put the handlers and templates into Flower, which must not have started yet. Twice is as good as once."""
    from flower import urls  # noqa: PLC0415 - Flower is optional

    from worker.operations.dashboard.flower_guard import guarded  # noqa: PLC0415 - Flower is optional
    from worker.operations.dashboard.page import TEMPLATES  # noqa: PLC0415 - Tornado, which it imports, is optional
    from worker.operations.dashboard.routes import ROUTES  # noqa: PLC0415 - Tornado, which it imports, is optional

    if isinstance(urls.settings.get("template_loader"), Templates):
        return
    urls.settings["template_loader"] = Templates(ours=TEMPLATES, flowers=Path(urls.settings["template_path"]))
    urls.handlers[:] = map(guarded, urls.handlers)  # in place, as Flower has taken the list already
    _insert(urls.handlers, ROUTES)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(WithoutTokens())


def _insert(handlers: list[Any], routes: Sequence[URLSpec]) -> None:
    """Insert in place, before the last one, which catches everything."""
    handlers[-1:-1] = routes
