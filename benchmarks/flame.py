"""``make flame``: where the CPU of a worker goes while it empties a queue, as a flame graph.

The kernel's own profiler (`perf`) looks at what a worker runs a thousand times a second, down to the system calls, with
the names of Python's functions, which Python tells it from 3.13 on:
https://docs.python.org/3/howto/perf_profiling.html. Debian's package is `linux-perf`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks.backlog import Backlogs
from benchmarks.consumers import ours
from benchmarks.draining import gathered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PYTHON: Final = (3, 13)
_HERTZ: Final = 997
_STACK: Final = 16_384
"""Bytes of a thread's stack that are kept with each look: what is deeper is not told."""

_API: Final = 0.05
_ROOT: Final = Path(__file__).resolve().parent.parent
_PICTURE: Final = _ROOT / "docs" / "images" / "performance-flame.svg"

_WIDTH: Final = 1200
_ROW: Final = 16
_LETTER: Final = 6.3
"""Pixels of a letter."""
_SHORTEST: Final = 4
"""Letters below which a name says nothing."""

_LEAST: Final = 0.002
"""The part of all samples below which a function is left out."""

_COLOURS: Final = {
    "worker/": "#5b9bf0",
    "producer/": "#5b9bf0",
    "celery/": "#f0b45b",
    "kombu/": "#f2cf7d",
    "vine/": "#f2cf7d",
    "redis/": "#e58b8b",
    "gevent/": "#8fcf9b",
    "[kernel]": "#b9c0ca",
    "[C]": "#d3d8de",
}
_OTHER: Final = "#c9b8e8"

_THREADS: Final = {
    "asynloop (celery/": "Celery's event loop",
    "GeventScheduler._work (worker/": "deliveries",
    "CommandPipeline._serve (worker/": "deliveries",
    "Hub.run (gevent/": "deliveries",
    "Holder._run (worker/": "the lease",
}
"""What a thread is for, by the function that it runs; what is above that says nothing."""

_FRAME: Final = re.compile(r"\s+[0-9a-f]+ (?P<symbol>.*) \((?P<file>[^()]*(?:\([^()]*\))?[^()]*)\)\s*$")
_HOME: Final = re.compile(r".*/(?:site-packages|lib/python3\.\d+)/|" + re.escape(f"{_ROOT}/"))


@dataclass(slots=True)
class _Node:
    """A function, as it was called from the one below."""

    samples: int = 0
    inner: dict[str, _Node] = field(default_factory=dict)

    def add(self, stack: Iterable[str], samples: int) -> None:
        """Add looks at which the functions of a stack, from the outermost on, were being run."""
        node = self
        node.samples += samples
        for name in stack:
            node = node.inner.setdefault(name, _Node())
            node.samples += samples


def stacks(script: Iterable[str]) -> Counter[tuple[str, ...]]:
    """Read what ``perf script`` printed.

    Args:
        script: Its lines.

    Returns:
        How often each stack was seen: functions of Python, from the outermost on, then the system call or the library.
    """
    found: Counter[tuple[str, ...]] = Counter()
    for frames in _samples(script):
        python = [_python(symbol) for symbol, _ in frames if symbol.startswith("py::")]
        names = [*_leaf(frames), *python][::-1]
        for at, name in enumerate(names):
            thread = next((text for begins, text in _THREADS.items() if name.startswith(begins)), None)
            if thread is not None:
                found[(thread, *names[at:])] += 1
                break
        else:
            found[("others", *names)] += 1
    return found


def _samples(script: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
    """Each look's frames, from the innermost on: the symbol, and the file that it is of."""
    frames: list[tuple[str, str]] = []
    for line in script:
        if match := _FRAME.match(line):
            frames.append((match["symbol"].rpartition("+0x")[0] or match["symbol"], match["file"]))
        elif not line.strip() and frames:
            yield frames
            frames = []
    if frames:
        yield frames


def _python(symbol: str) -> str:
    name, _, path = symbol.removeprefix("py::").partition(":")
    return f"{name} ({_HOME.sub('', path)})"


def _leaf(frames: list[tuple[str, str]]) -> list[str]:
    symbol, file = frames[0]
    if "kernel" in file:
        inside = [name for name, where in frames if "kernel" in where]
        call = next((name for name in inside if "sys_" in name), inside[-1])
        return [f"[kernel] {call.removeprefix('__x64_')}"]
    if symbol.startswith("py::") or "libpython" in file or "python3" in Path(file).name:
        return []
    return [f"[C] {Path(file).name.split('.')[0]}"]


def svg(found: Counter[tuple[str, ...]], title: str) -> str:
    """Draw stacks: each function on the one that called it, as wide as the CPU that it took with all it called.

    Args:
        found: What `stacks` returned.
        title: What stands above.
    """
    root = _Node()
    for stack, samples in found.items():
        root.add(stack, samples)
    bars = list(_bars(root, left=0.0, depth=0, all_samples=root.samples))
    rows = max(depth for depth, *_ in bars) + 1
    height = (rows + 3) * _ROW
    letters = 'font-family="monospace" font-size="10.5"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {letters}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="4" y="{_ROW}" font-size="13">{escape(title)}</text>',
    ]
    for depth, left, share, name in bars:
        x, y, width = left * _WIDTH, height - (depth + 1) * _ROW, share * _WIDTH
        shown = _shortened(name, int((width - 4) / _LETTER))
        parts.append(
            f'<g><title>{escape(name)}: {100 * share:.1f} %</title><rect x="{x:.1f}" y="{y}" '
            f'width="{max(width - 0.5, 0.3):.1f}" height="{_ROW - 1}" fill="{_colour(name)}" rx="1"/>'
            + (f'<text x="{x + 2:.1f}" y="{y + _ROW - 5}">{escape(shown)}</text>' if shown else "")
            + "</g>"
        )
    return "\n".join([*parts, "</svg>\n"])


def _shortened(name: str, letters: int) -> str:
    if len(name) <= letters:
        return name
    return f"{name[: letters - 1]}…" if letters >= _SHORTEST else ""


def _bars(node: _Node, *, left: float, depth: int, all_samples: int) -> Iterator[tuple[int, float, float, str]]:
    for name, inner in sorted(node.inner.items(), key=lambda each: -each[1].samples):
        share = inner.samples / all_samples
        if share >= _LEAST:
            yield depth, left, share, name
            yield from _bars(inner, left=left, depth=depth + 1, all_samples=all_samples)
        left += share


def _colour(name: str) -> str:
    where = name if name.startswith("[") else name.rpartition("(")[2]
    return next((colour for begins, colour in _COLOURS.items() if where.startswith(begins)), _OTHER)


def _record(events: int, seconds: float, folder: Path) -> list[str]:
    """Let two workers empty a queue; return what ``perf script`` says of one of them."""
    consumer, looks, with_names = ours(), folder / "perf.data", folder / "perf.named"
    backlog = Backlogs(folder=folder).of(str(consumer.sender), events)
    named = {"PYTHON_PERF_JIT_SUPPORT": "1"}
    with gathered(consumer, events, latency=_API, backlog=backlog, environment=named) as at_gate:
        watched = str(at_gate.workers[0].process.pid)
        looking = ["record", "-k", "mono", "-F", str(_HERTZ), "--call-graph", f"dwarf,{_STACK}", "-p", watched]
        with ThreadPoolExecutor(1) as thread:
            watching = thread.submit(_perf, *looking, "-o", str(looks), "--", "sleep", str(seconds))
            at_gate.deliver(events)
            watching.result()
    _perf("inject", "--jit", "-i", str(looks), "-o", str(with_names), cwd=folder)
    for worker in at_gate.workers:
        Path(tempfile.gettempdir(), f"jit-{worker.process.pid}.dump").unlink(missing_ok=True)
    return _perf("script", "--no-inline", "-i", str(with_names)).splitlines()


def _perf(*arguments: str, cwd: Path | None = None) -> str:
    command = [str(shutil.which("perf")), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)  # noqa: S603 - fixed words
    if ended.returncode:
        raise click.ClickException(f"perf {arguments[0]} failed: {ended.stderr.strip()[-500:]}")
    return ended.stdout


@click.command()
@click.option("--events", type=click.IntRange(1000), default=20_000, show_default=True)
@click.option("--seconds", type=float, default=3.0, show_default=True, help="How long to look, from the first answer.")
@click.option("--output", type=click.Path(path_type=Path), default=_PICTURE, show_default=True)
def main(*, events: int, seconds: float, output: Path) -> None:
    """Look at a worker that empties a queue, and draw what it does."""
    if sys.version_info < _PYTHON:
        needed = ".".join(map(str, _PYTHON))
        raise click.ClickException(
            f"Python tells perf the names of its functions from {needed} on, and this is {sys.version.split()[0]}: "
            f"make .venv-bench with that (rm -r .venv-bench; make flame PYTHON=python{needed})"
        )
    if shutil.which("perf") is None:
        raise click.ClickException("perf is not installed: on Debian, apt-get install linux-perf")
    with tempfile.TemporaryDirectory(prefix="flame-") as folder:
        found = stacks(_record(events, seconds, Path(folder)))
    total = sum(found.values())
    title = f"One of two workers at full load, API {_API * 1000:.0f} ms: {total:,} looks, {os.uname().release}"
    output.write_text(svg(found, title))
    click.echo(f"{output}: {total:,} looks")
    threads: Counter[str] = Counter()
    for (thread, *_), samples in found.items():
        threads[thread] += samples
    for thread, samples in threads.most_common():
        click.echo(f"{100 * samples / total:5.1f} %  {thread}")


if __name__ == "__main__":
    main()
