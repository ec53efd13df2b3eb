TRANSPORT_ALIASES: dict[str, str]

_transport_cache: dict[str | None, type | None]

def get_transport_cls(transport: str | None = None) -> type | None: ...
