"""The gateway: feedback over HTTP, for backends in any language; it answers once an event is durable.

Start reading at `worker.gateway.app`. Another ASGI server than ours finds the application with
``uvicorn --factory worker.gateway:create_app``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.gateway.app import create_app
else:

    def __getattr__(name: str) -> object:
        """Import the application when it is asked for: the commands on keys need none of it."""
        if name == "create_app":
            from worker.gateway.app import create_app  # noqa: PLC0415 - that is the purpose

            return create_app
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["create_app"]
