from typing import Any

class AttributeDict(dict[str, Any]):
    def __getattr__(self, key: str) -> Any: ...
