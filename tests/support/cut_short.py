"""Work that is cut short behind one of its steps, as if its process had ended there."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

__all__ = ["cut_short"]


class _Cut(Exception):
    pass


@contextmanager
def cut_short(monkeypatch: pytest.MonkeyPatch, module: ModuleType, steps: Sequence[str], *, at: int) -> Iterator[None]:
    """Fail unless what is done within is cut short: the ``at``-th call, from 1, of the steps is done, and raises.

    Args:
        monkeypatch: Of the test.
        module: Where the steps are looked up.
        steps: The names of functions in it.
        at: Which call of any of them is the last.
    """
    calls = count(1)

    def cut(step: Any) -> Any:
        def run(*arguments: Any, **named: Any) -> Any:
            answer = step(*arguments, **named)
            if next(calls) == at:
                raise _Cut
            return answer

        return run

    with monkeypatch.context() as patched:
        for name in steps:
            patched.setattr(module, name, cut(getattr(module, name)))
        with pytest.raises(_Cut):
            yield
