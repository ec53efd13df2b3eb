"""A part of the rendered chart, run on this machine by its own command with its own environment and no other.

What differs from a pod is where things are: the paths of its volumes become folders, and all addresses those of
loopback. It runs as a user that no file names, in a folder that it may not write to.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import requests

from tests.support.processes import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.chart import Objects

__all__ = ["Pods", "answers"]

_OUTSIDE: Final = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
_READS: Final = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
"""Lets the user read a virtual environment that is its owner's alone, and write nothing."""

_AS_ANYBODY: Final = ("setpriv", "--reuid=1234567", "--regid=0", "--clear-groups", *_READS)
_numbers = count(1)


@dataclass(frozen=True)
class Pods:
    """The parts of a rendering.

    Attributes:
        objects: The rendering.
        folder: Where their volumes are.
        secrets: What stands in each file of a secret.
        moved: Addresses and paths of the cluster, and what stands for them here.
    """

    objects: Objects
    folder: Path
    secrets: Mapping[str, str]
    moved: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def start(self, part: str) -> Iterator[Running]:
        """Run a part until the block ends. Whatever it has written is in its volumes, or it failed."""
        home = self._home(part)
        log = self.folder / f"{home.name}.log"
        with running(self._command(part), log=log, env=self.environment(part, home), cwd=home) as process:
            yield process
        assert list(home.iterdir()) == []

    def call(self, part: str) -> subprocess.CompletedProcess[str]:
        """Run a part to its end."""
        home, command = self._home(part), self._command(part)
        environment = self.environment(part, home)
        return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)

    def environment(self, part: str, home: Path) -> dict[str, str]:
        """What the part's process sees."""
        outside = {name: os.environ[name] for name in _OUTSIDE if name in os.environ}
        outside |= {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(home)}
        outside |= {"TMPDIR": str(self._volume("tmp", 0o777)), "PYTHONDONTWRITEBYTECODE": "1"}
        return outside | {name: self._here(value) for name, value in self.objects.environment(part).items()}

    def grace(self, part: str) -> float:
        """The seconds that its container has after SIGTERM."""
        pre_stop = (
            self.objects.container(part).get("lifecycle", {}).get("preStop", {"exec": {"command": ["sleep", "0"]}})
        )
        seconds: int = self.objects.pods()[part]["terminationGracePeriodSeconds"]
        return seconds - int(pre_stop["exec"]["command"][1])

    def probe(self, part: str, kind: str) -> tuple[int, str]:
        """The status and the body that one of its probes gets; 0 if nothing answers."""
        return answers(self.url(part, self.objects.container(part)[f"{kind}Probe"]["httpGet"]))

    def url(self, part: str, asked: Mapping[str, Any]) -> str:
        """The address of what a probe, or a scaler, asks of a part by the name of a port and a path."""
        ports = {each["name"]: each["containerPort"] for each in self.objects.container(part)["ports"]}
        return f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"

    def _command(self, part: str) -> list[str]:
        command = [self._here(word) for word in self.objects.container(part)["command"]]
        return [*_AS_ANYBODY, *command] if os.getuid() == 0 else command

    def _home(self, part: str) -> Path:
        home = self.folder / f"{part}-{next(_numbers)}"
        home.mkdir(mode=0o555)
        return home

    def _here(self, text: str) -> str:
        """A value with the places of this machine."""
        secrets = self._volume("secrets")
        for name, content in self.secrets.items():
            file = secrets / name
            if not file.exists():
                file.write_text(content)
                file.chmod(0o440)
        places = {"/run/secrets/feedback": str(secrets), "/run/secrets/gateway": str(secrets), "0.0.0.0": "127.0.0.1"}
        places["/var/lib/feedback"] = str(self._volume("spool", 0o777))
        for there, here in (places | dict(self.moved)).items():
            text = text.replace(there, here)
        return text

    def _volume(self, name: str, mode: int = 0o755) -> Path:
        folder = self.folder / f"volume-{name}"
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
        return folder


def answers(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Ask, and return the status and the body; 0 if nothing answers."""
    try:
        response = requests.get(url, headers=headers, timeout=5)
    except requests.RequestException:
        return 0, ""
    return response.status_code, response.text
