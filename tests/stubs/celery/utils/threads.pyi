from typing import Generic, TypeVar

_T = TypeVar("_T")

class _LocalStack(Generic[_T]):
    def push(self, obj: _T) -> None: ...
    def pop(self) -> _T | None: ...
