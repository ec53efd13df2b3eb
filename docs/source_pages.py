"""A Sphinx extension: a link to a source file leads to a page that shows the file, and to a name in it if it says one.

``[delivery](../worker/delivery/service.py#deliver)`` leads to the line that
defines ``deliver``. A name that is not there is a warning, and so is a page that would load something from another
host.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.util import logging

from docs.definitions import definitions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

_LOG: Final = logging.getLogger(__name__)
_NAME: Final = re.compile(r"\]\(([^)\s]+\.py)#([\w.]+)\)")
_FOLDER: Final = re.compile(r"\]\(([^)\s:#]+/)\)")
_FOREIGN: Final = re.compile(r"""<(?:link|script|img|iframe|source)\b[^>]*?(?:src|href)=["'](?:https?:)?//[^"']*""")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", prepare_links)
    app.connect("doctree-read", link_sources, priority=400)  # before the files are collected as downloads
    app.connect("html-collect-pages", source_pages)
    app.connect("build-finished", require_self_contained)
    return {"parallel_read_safe": False, "parallel_write_safe": True}


def prepare_links(app: Sphinx, docname: str, content: list[str]) -> None:
    """Prepare links for MyST, which drops the name from a link to a file, and takes none to a folder.

    The name becomes the link's title, and a package's folder its ``__init__.py``.
    """
    page = Path(app.srcdir, docname).parent

    def file_of(link: re.Match[str]) -> str:
        return f"]({link[1]}__init__.py)" if Path(page, link[1], "__init__.py").is_file() else link[0]

    content[0] = _FOLDER.sub(file_of, _NAME.sub(r'](\1 "#\2")', content[0]))


def link_sources(app: Sphinx, doctree: nodes.document) -> None:
    """Turn each link to a file that is no page of the site into a link to that file's page."""
    docname = app.env.current_document.docname
    for link in list(doctree.findall(addnodes.download_reference)):
        path = Path(app.srcdir, docname).parent.joinpath(link["reftarget"]).resolve()
        name = link.get("reftitle", "").removeprefix("#")
        pages = app.env.__dict__.setdefault("linked_sources", set())
        source = path.relative_to(app.srcdir).as_posix()
        pages.add(source)
        uri = app.builder.get_relative_uri(docname, f"source/{source}")
        if name:
            line = definitions(path).get(name)
            if line is None:
                _LOG.warning("%s defines no %s", source, name, location=link)
            uri += f"#L-{line}"
        link.replace_self(nodes.reference("", "", *link.children, internal=True, refuri=uri))


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each linked file."""
    for source in sorted(app.env.__dict__.get("linked_sources", ())):
        text = Path(app.srcdir, source).read_text()
        try:
            language = get_lexer_for_filename(source).aliases[0]
        except ClassNotFound:
            language = "text"
        shown = app.builder.highlighter.highlight_block(text, language, linenos="inline", lineanchors="L")
        yield f"source/{source}", {"title": source, "body": f"<h1>{html.escape(source)}</h1>{shown}"}, "page.html"


def require_self_contained(app: Sphinx, error: Exception | None) -> None:
    """Warn of pages that load something from another host: the site is read where there is no network, too."""
    for page in Path(app.outdir).rglob("*.html") if error is None else ():
        for found in _FOREIGN.findall(page.read_text()):
            _LOG.warning("%s loads from another host: %s", page.relative_to(app.outdir), found)
