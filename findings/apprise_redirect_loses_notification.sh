#!/usr/bin/env bash
# Apprise 2.3.0 with requests 2.34.2: a webhook that has moved is told nothing, and the notification counts as sent.
#
# requests follows a 301, 302 or 303 to a POST with a GET that has no body, as browsers do. Apprise follows redirects by
# default and looks at the last status only: `notify()` returns SUCCESS (which is true), and no request ever had the text.
# That is what a webhook does whose address was written with http in front of a proxy that redirects to https. A 307 or a
# 308 keeps method and body. With ?redirect=no in the address, or AppriseAsset(http_redirects=False), it is a FAILURE.
#
# Seen:
#   301 SUCCESS True: POST with the text, GET without; 302 and 303 likewise
#   307 SUCCESS True: POST with the text, POST with the text; 308 likewise
#   301 with redirect=no: FAILURE False: POST with the text
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check apprise==2.3.0 requests==2.34.2

cat > notify.py <<'PYTHON'
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import apprise

TEXT = "the queue is held"
logging.disable()
asked = []


class Receiver(BaseHTTPRequestHandler):
    """Sends whoever comes from `/moved/STATUS` to `/new`, where everything is taken."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked.append((self.command, TEXT.encode() in body))
        moved = self.path.split("?")[0].removeprefix("/moved/").strip("/")
        self.send_response(int(moved) if moved.isdigit() else 200)
        if moved.isdigit():
            self.send_header("Location", "/new")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *words):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()


def told(status, options=""):
    asked.clear()
    notifier = apprise.Apprise()
    assert notifier.add(f"json://127.0.0.1:{server.server_port}/moved/{status}{options}")
    result = notifier.notify(body=TEXT)
    seen = (bool(result), list(asked))
    print(f"{status}{options}: {result!r} {seen}")
    return seen


LOST = (True, [("POST", True), ("GET", False)])
KEPT = (True, [("POST", True), ("POST", True)])
is_so = [told(status) for status in (301, 302, 303, 307, 308)] == [LOST, LOST, LOST, KEPT, KEPT]
is_so &= told(301, "?redirect=no") == (False, [("POST", True)])
sys.exit(not is_so)
PYTHON
venv/bin/python notify.py
