"""The variables that Kubernetes sets in every container for each service beside it.

A service called ``feedback`` gives FEEDBACK_PORT=tcp://10.0.0.1:80, FEEDBACK_SERVICE_HOST and more, which are no
settings: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["drop_flowers_port", "is_service_link"]

_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://\S+")
_NAME: Final = re.compile(
    r".+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)", re.IGNORECASE
)


def is_service_link(name: str, value: object) -> bool:
    """Tell whether a variable is one that Kubernetes has set for a service."""
    is_port = name.lower().endswith("_port") and isinstance(value, str) and _ADDRESS.fullmatch(value) is not None
    return is_port or _NAME.fullmatch(name) is not None


def drop_flowers_port(environ: MutableMapping[str, str]) -> None:
    """Take FLOWER_PORT away where it is that of a service called ``flower``: Flower would take it for its own port."""
    if is_service_link("FLOWER_PORT", environ.get("FLOWER_PORT")):
        del environ["FLOWER_PORT"]
