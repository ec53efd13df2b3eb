"""A real nginx for tests: Debian's, with what a test puts into its only server."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.processes import eventually, need, running
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        {block}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, block: str, *, certificate: Path, key: Path) -> Iterator[str]:
    """Serve a block of a server over TLS, and give its address.

    Args:
        folder: For its files.
        block: What stands in its `server`.
        certificate: What it shows.
        key: The key of that.
    """
    # Debian has it where only root's PATH leads.
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or need("nginx")
    folder.mkdir()
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, port=port, block=block, certificate=certificate, key=key))
    with running([program, "-e", "stderr", "-c", str(file)], log=folder / "nginx.log"):
        eventually(lambda: _listens(port), what="nginx listens")
        yield f"https://127.0.0.1:{port}"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
