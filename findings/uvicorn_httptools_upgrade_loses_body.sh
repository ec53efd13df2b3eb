#!/bin/sh
# uvicorn with httptools, which is what it takes where that is installed (`uvicorn[standard]`), gives the application an
# empty body for a POST that offers an upgrade (`Connection: Upgrade`, `Upgrade: h2c`), though Content-Length says how
# long it is, and answers what the application answers. With h11 the application gets the body. Java's HttpClient offers
# h2c by default with each first request to an http:// address, and curl does with `--http2`; RFC 9110, section 7.8, lets a
# server pass the offer over, not the body.
#
# httptools ends a request with its headers where they offer an upgrade, and raises HttpParserUpgrade with the offset of
# the rest, which uvicorn drops after a warning ("Unsupported upgrade request.").
#
# Seen with uvicorn 0.54.0, httptools 0.9.0, h11 0.16.0 on CPython 3.11: the application reads 0 bytes of 5 with httptools,
# and 5 with h11; both answer 200.
#
# Exits 0 if that is still so.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0
"$work/venv/bin/python" - <<'PYTHON'
import asyncio
import sys
from importlib.metadata import version

import uvicorn

REQUEST = (
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nhello"
)


async def application(scope, receive, send):
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"%d" % length})


async def answer(http):
    server = uvicorn.Server(uvicorn.Config(application, port=0, http=http, ws="none", lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    body = await asyncio.wait_for(reader.readexactly(1), 10)
    writer.close()
    server.should_exit = True
    await serving
    return head.split(b"\r\n")[0].decode(), int(body)


answers = {http: asyncio.run(answer(http)) for http in ("httptools", "h11")}
print(*(f"{name} {version(name)}" for name in ("uvicorn", "httptools", "h11")), "Python", sys.version.split()[0])
for http, (status, length) in answers.items():
    print(f"{http}: {status}, the application read {length} of 5 bytes")
sys.exit(0 if (answers["httptools"][1], answers["h11"][1]) == (0, 5) else 1)
PYTHON
