"""What a Python file defines, for links from the documents to a name in it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def definitions(path: Path) -> dict[str, int]:
    """Return the line of each name that a Python file defines at its top, and of each method as ``Class.method``."""
    lines: dict[str, int] = {}
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                lines[node.name] = node.lineno
            case ast.ClassDef():
                lines[node.name] = node.lineno
                methods = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
                lines |= {f"{node.name}.{method.name}": method.lineno for method in methods}
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                lines[name] = node.lineno
    return lines
