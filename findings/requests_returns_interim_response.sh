#!/usr/bin/env bash
# requests 2.34.2 with urllib3 2.8.0 on http.client: an interim response is returned as the response.
#
# A server may send any number of 1xx responses before the final one (RFC 9110, section 15.2; 103 Early Hints is RFC 8297).
# http.client skips 100 alone. For 102 and 103 requests and urllib3 return a response of that status with an empty body,
# and it counts as `ok`; the final response is not read. httpx 0.28.1 returns the final response.
#
# Seen:
#   http.client 103, urllib3 103, requests 103 (ok: True, body: b''), httpx 200 b'fine'
#   after a 100: all of them 200
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check requests==2.34.2 urllib3==2.8.0 httpx==0.28.1

cat > ask.py <<'PYTHON'
import http.client
import socket
import sys
import threading

import httpx
import requests
import urllib3

FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine"


def serve(listener, interim):
    while True:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(interim + FINAL)


def statuses(interim):
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener, interim), daemon=True).start()
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    plain = http.client.HTTPConnection("127.0.0.1", port)
    plain.request("GET", "/")
    by_requests = requests.get(url, timeout=5)
    by_httpx = httpx.get(url)
    print(f"requests: ok {by_requests.ok}, body {by_requests.content!r}; httpx: body {by_httpx.content!r}")
    return [
        plain.getresponse().status,
        urllib3.request("GET", url, retries=False).status,
        by_requests.status_code,
        by_httpx.status_code,
    ]


early = statuses(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
processing = statuses(b"HTTP/1.1 102 Processing\r\n\r\n")
goes_on = statuses(b"HTTP/1.1 100 Continue\r\n\r\n")
print("http.client, urllib3, requests, httpx:", early, processing, goes_on)
sys.exit((early, processing, goes_on) != ([103, 103, 103, 200], [102, 102, 102, 200], [200] * 4))
PYTHON
venv/bin/python ask.py
