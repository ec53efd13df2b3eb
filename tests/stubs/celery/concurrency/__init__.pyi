from celery.concurrency.base import BasePool

ALIASES: dict[str, str]

def get_implementation(cls: str) -> type[BasePool]: ...
