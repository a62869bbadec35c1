"""Serves the monitor: nothing can be changed through it, and nothing is loaded from anywhere else."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from importlib.resources import files

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from normfed_common.foundation import digests
from normfed_common.foundation.files import without_nan
from normfed_server.monitor.admittance import KnownHosts, Tokens, admitted
from normfed_server.monitor.figures import exposition
from normfed_server.monitor.views import Views
from normfed_server.runs.folder import PRIVACY, REPORT
from normfed_server.state.folder import ServerHome

EVERY_S, ALIVE_S = 1.0, 15.0
TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
PAGES = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css", "/icon.svg": "icon.svg"}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
NOWHERE = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
OF_A_RUN = {  # page to its policy: nothing is loaded from anywhere, this server included
    PRIVACY: f"default-src 'none'; style-src 'unsafe-inline'; {NOWHERE}",
    # The report's drawings run scripts, so it is shown as a page of nobody, to which this server is a stranger.
    REPORT: "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    f"style-src 'unsafe-inline'; img-src data: blob:; {NOWHERE}",
}


class _Headers(BaseHTTPMiddleware):
    """What keeps a browser from doing more than showing the page."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def application(home: ServerHome, healthy: Callable[[], bool]) -> Starlette:
    """The monitor of an operator's folder."""
    views, lock = Views(home), threading.Lock()

    def text() -> str:
        with lock:
            return json.dumps(without_nan(views.state()), allow_nan=False)

    async def state(_: Request) -> Response:
        return Response(await run_in_threadpool(text), media_type="application/json")

    async def metrics(_: Request) -> Response:
        content = exposition(json.loads(await run_in_threadpool(text)))
        return PlainTextResponse(content, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz(_: Request) -> Response:
        well = await run_in_threadpool(healthy)
        return PlainTextResponse("ok\n" if well else "the SuperLink does not answer\n", 200 if well else 503)

    def page_of(run: str, name: str) -> bytes | None:
        known = name in OF_A_RUN and run in {entry.name for entry in home.ledger.all()}
        path = home.runs / run / name
        return path.read_bytes() if known and path.is_file() else None

    async def of_a_run(request: Request) -> Response:
        name = request.path_params["page"]
        page = await run_in_threadpool(page_of, request.path_params["run"], name)
        if page is None:
            return PlainTextResponse("There is no such page.\n", 404)
        return Response(page, headers={"Content-Security-Policy": OF_A_RUN[name]}, media_type=TYPES["html"])

    async def events(request: Request) -> Response:
        async def changes() -> AsyncIterator[str]:
            last, quiet = "", 0.0
            while not await request.is_disconnected() and admitted(home, request.scope):
                now = await run_in_threadpool(text)
                mark = digests.of_json(now)
                if mark != last:
                    last, quiet = mark, 0.0
                    yield f"data: {now}\n\n"
                elif quiet >= ALIVE_S:
                    quiet = 0.0
                    yield ": alive\n\n"
                await asyncio.sleep(EVERY_S)
                quiet += EVERY_S

        return StreamingResponse(changes(), media_type="text/event-stream")

    routes = [
        *(Route(path, _static(name)) for path, name in PAGES.items()),
        Route("/runs/{run}/{page}", of_a_run),
        Route("/state", state),
        Route("/events", events),
        Route("/metrics", metrics),
        Route("/healthz", healthz),
    ]
    guards = [Middleware(_Headers), Middleware(KnownHosts, home.config.monitor_names), Middleware(Tokens, home)]
    return Starlette(routes=routes, middleware=guards)


def _static(name: str) -> Callable[[Request], Response]:
    content = (files("normfed_server.monitor") / "static" / name).read_bytes()
    kind = TYPES[name.rpartition(".")[2]]
    return lambda _request: Response(content, media_type=kind)


class Monitor:
    """Serves in a thread of its own."""

    def __init__(self, home: ServerHome, healthy: Callable[[], bool]) -> None:
        config = uvicorn.Config(
            application(home, healthy),
            host=home.config.monitor_listen,
            port=home.config.monitor_port,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Monitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(5)
