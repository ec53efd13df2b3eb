from collections.abc import Callable
from typing import Any

from billiard.process import BaseProcess

class ForkProcess(BaseProcess):
    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
    ) -> None: ...
    def start(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    @property
    def exitcode(self) -> int | None: ...
