from collections.abc import Callable

_aliases: dict[str, str]

def get_decoder(t: str) -> Callable[[bytes], bytes]: ...
