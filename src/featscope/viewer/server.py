"""Serve the page and its answers on this machine: Starlette and uvicorn, which the extra `view` installs.

The address contains a random token, so other users and other pages cannot guess it. Every request is checked: the
name of the host (not the port, as SSH forwards another), and that it does not come from another page.
"""

from __future__ import annotations

import errno
import gzip
import os
import secrets
import socket
import threading
from contextlib import suppress
from typing import Dict, Iterable, List, Optional, Sequence
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from featscope.errors import BadOptionError
from featscope.viewer.answers import Viewer
from featscope.viewer.openapi import openapi
from featscope.viewer.page import MEDIA, page_with_modules, static_files

LOOPBACK = ("127.0.0.1", "localhost", "::1")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Headers of every reply, errors included."""


class Guard:
    """Refuses what does not come from the page itself, and gives every reply its headers."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # uvicorn starts and stops the application by messages of another type
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Dict) -> None:  # type: ignore[type-arg]
            if message["type"] == "http.response.start":
                own = [(key.lower().encode(), value.encode()) for key, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        refusal = self._refusal(Request(scope))
        answer: ASGIApp = self.app if refusal is None else PlainTextResponse(refusal, 403)
        await answer(scope, receive, send_with_headers)  # type: ignore[arg-type]

    def _refusal(self, request: Request) -> Optional[str]:
        host = request.headers.get("host", "")
        if _name(f"//{host}") not in self.hosts:
            return f"the host {host!r} is not this viewer; open the address that it printed"
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return f"a page of {origin} may not ask this viewer"
        site = request.headers.get("sec-fetch-site", "none")
        opened = (
            request.headers.get("sec-fetch-mode") == "navigate" and request.headers.get("sec-fetch-dest") == "document"
        )
        # A link to the page may be followed from anywhere; only the page itself may ask.
        if site not in ("same-origin", "none") and not (opened and request.url.path.count("/") == 2):
            return "another page may not ask this viewer"
        return None


def make_app(viewer: Viewer, token: str, hosts: Iterable[str] = LOOPBACK) -> Guard:
    """Return the application: the page at `/TOKEN/`, its answers at `/TOKEN/ask/NAME`."""
    # The page is packed once; answers are not, as nothing is gained on the way to the same machine.
    files = static_files()
    files["index.html"] = page_with_modules(files)
    static = {name: gzip.compress(data, 9) for name, data in files.items()}

    async def page(request: Request) -> Response:
        name = request.path_params.get("name") or "index.html"
        data = static.get(name)
        if data is None:
            return PlainTextResponse("there is no such file", 404)
        headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            data = gzip.decompress(data)
        return Response(data, media_type=MEDIA[name.rpartition(".")[2]], headers=headers)

    async def ask(request: Request) -> Response:
        known = request.headers.get("if-none-match", "").strip('"')
        query = dict(request.query_params)
        answer = await run_in_threadpool(viewer.answer, request.path_params["question"], query, known)
        headers = {"ETag": f'"{answer.tag}"', "Cache-Control": "no-cache"}
        if answer.status == 304:
            return Response(status_code=304, headers=headers)
        return Response(answer.body, answer.status, headers, media_type=answer.media)

    def schema(request: Request) -> Response:
        return Response(openapi(f"/{token}", viewer.explain is not None), media_type="application/json")

    routes = [
        Route(f"/{token}/ask/{{question}}", ask),
        Route(f"/{token}/openapi.json", schema),
        Route(f"/{token}/", page),
        Route(f"/{token}/{{name:path}}", page),
    ]
    return Guard(Starlette(routes=routes), hosts)


def _name(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


class Address:
    """A socket to listen on, and the address of the page.

    port: 0 for any that is free. Raises `BadOptionError` if the port is in use or the host is not this machine's.
    """

    def __init__(self, host: str = LOOPBACK[0], port: int = 0, token: str = "") -> None:
        self.token = token or secrets.token_urlsafe(12)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # asyncio turns Nagle's algorithm off only where the protocol is named; with it, every answer waits for 40 ms.
        self.socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":
            # Otherwise, the port of a viewer that has just ended is in use for another minute.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind((host, port))
            self.socket.listen()  # a browser that is faster than the server waits, and is not refused
        except OSError as error:
            self.socket.close()
            mend = (
                "type --port with another number, or leave it out for any that is free"
                if error.errno == errno.EADDRINUSE
                else "give an address of this machine: --host 127.0.0.1"
            )
            raise BadOptionError(f"the viewer cannot listen on {host} port {port}: {error.strerror}; {mend}") from None
        self.host, self.port = host, int(self.socket.getsockname()[1])

    @property
    def url(self) -> str:
        """The address of the page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/{self.token}/"

    def serve(self, viewer: Viewer) -> None:
        """Answer requests until Ctrl-C."""
        import uvicorn

        threading.Thread(target=viewer.warm, daemon=True).start()
        hosts: Sequence[str] = LOOPBACK if self.host in LOOPBACK else (*LOOPBACK, self.host, *_own_names(self.host))
        app = make_app(viewer, self.token, hosts)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=1
        )
        uvicorn.Server(config).run([self.socket])


def _own_names(host: str) -> List[str]:
    """Return the names by which other machines may call this one, if it listens to all of them."""
    if host not in ("0.0.0.0", "::"):
        return []
    name = socket.gethostname()
    found = {name, socket.getfqdn(name)}
    with suppress(OSError):
        found.update(str(info[4][0]) for info in socket.getaddrinfo(name, None))
    return sorted(found)
