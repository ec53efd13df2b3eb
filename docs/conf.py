"""Sphinx's configuration: the site is the repository's own Markdown, and the API reference comes from the docstrings.

``make docs`` builds it into ``build/site``. Sphinx's source directory is the top of the repository, so that a link
means the same here and where the files lie. Every warning is an error: a broken link, a missing name, a page without a
place in the menu.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from producer import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "aquilax-feedback"
copyright = "the authors of aquilax-feedback"  # noqa: A001 - Sphinx's name for it
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docs.source_pages"]
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".github/SECURITY.md", "docs/**.md"]
exclude_patterns = [".venv*", "build"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Backticks in a docstring are a reference, and one that leads nowhere is an error. What is not ours has no page here.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!producer\b).*")]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_sphinx = False
html_extra_path = ["index.html"]
html_theme_options = {"navigation_with_keys": True}


def setup(app: Sphinx) -> None:
    """Say of an event's default time what it is, in place of the object that stands for it."""
    app.connect("autodoc-process-signature", _with_now)


def _with_now(*told: Any) -> tuple[str | None, str | None]:
    signature, returns = told[-2:]
    return (signature.replace("<object object>", "now") if signature else signature), returns
