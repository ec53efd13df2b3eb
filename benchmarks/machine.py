"""The machine and the versions that something was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from benchmarks.servers import redis_binary

__all__ = ["describe"]

_PACKAGES: Final = (
    *("aquilax-feedback", "celery", "kombu", "redis", "hiredis", "requests", "urllib3", "aiohttp", "gevent"),
    *("dramatiq", "huey", "rq", "arq", "taskiq", "taskiq-redis"),
)


def describe() -> dict[str, str]:
    """Return what the figures depend on, by name."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {_memory()}",
        "system": f"{platform.system()} {platform.release()}",
        "load before": " ".join(f"{average:.2f}" for average in os.getloadavg()),
        "Python": platform.python_version(),
        "server": _server(),
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _server() -> str:
    told = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603 - the server we measure with
    return " ".join(word for word in told.split() if not word.startswith(("sha=", "build=", "malloc=", "bits=")))


def _processor() -> str:
    return _line("/proc/cpuinfo", "model name") or platform.machine()


def _memory() -> str:
    total = _line("/proc/meminfo", "MemTotal")
    return f"{int(total.split()[0]) / 2**20:.0f} GiB" if total else "unknown memory"


def _line(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
