"""Serves the page on this machine alone: by the templates, without anything from elsewhere; works without scripts."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from normfed_client.consent.deciding import OtherThanShown, Shown, decide
from normfed_client.consent.decisions import Verdict
from normfed_client.consent.html import environment
from normfed_client.consent.sheet import page as sheet
from normfed_client.consent.sheet import people_of, size
from normfed_client.hospital.folder import Hospital
from normfed_client.page.cards import Client
from normfed_client.page.door import Door, Session
from normfed_client.page.records import SIDES
from normfed_client.page.views import Views
from normfed_client.recording.audit import Audit
from normfed_common.foundation.errors import SiteError, UserError

LARGEST_FORM, MOST_FIELDS = 20_000, 20  # bytes
DIGEST = re.compile(r"[0-9a-f]{32}")
VERDICTS: dict[str, Verdict] = {"approve": "approved", "refuse": "refused", "take back": "taken back"}
STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
SHEET = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class Site:
    """What is served, by address.

    Parameters
    ----------
    folder
        The hospital's.
    status
        See `Views`.
    """

    def __init__(self, folder: Path, status: Callable[[Hospital], Client], session: Session) -> None:
        self._views, self._session = Views(folder, status), session
        self._templates = environment("normfed_client.page")
        self._templates.filters["bytes"] = size

    def routes(self) -> list[Route]:
        """All addresses."""
        return [
            Route("/", self._overview),
            Route("/studies/{digest}", self._study),
            Route("/studies/{digest}", self._decide, methods=["POST"]),
            Route("/studies/{digest}/sheet", self._sheet),
            Route("/sent", self._sent),
            Route("/audit.jsonl", self._export),
            *(Route(f"/{name}", _static(name, kind)) for name, kind in STATIC.items()),
        ]

    def failed(self, _: Request, error: Exception) -> Response:
        """A page with one sentence."""
        if isinstance(error, HTTPException):
            return self._page("problem", {"sentence": error.detail}, error.status_code)
        return self._page("problem", {"sentence": str(error)}, 500)

    def _overview(self, _: Request) -> Response:
        return self._page("overview", self._views.overview())

    def _study(self, request: Request) -> Response:
        return self._shown(_digest(request))

    def _shown(self, digest: str, notice: str = "", status: int = 200, typed: dict[str, str] | None = None) -> Response:
        filled = {"by": "", "until": "", "why": "", "runs": "1"} | (typed or {})
        more = {"form": self._session.form, "notice": notice, "typed": filled}
        return self._page("study", self._views.study(digest) | more, status)

    async def _decide(self, request: Request) -> Response:
        fields = await _form(request)
        if not self._session.sent_from_here(request.headers, fields.get("form", "")):
            raise HTTPException(403, "This form was not sent from this page. Open the study here, and decide again.")
        return await run_in_threadpool(self._decided, _digest(request), fields)

    def _decided(self, digest: str, fields: dict[str, str]) -> Response:
        hospital = self._views.hospital()
        _, study = self._views.asked(hospital, digest)
        verdict = VERDICTS.get(fields.get("verdict", ""))
        if verdict is None:
            raise HTTPException(400, "This form says neither approve, refuse nor take back. Open the study again.")
        try:
            shown = Shown(fields.get("manifest", ""), _count(fields.get("decisions", "")))
            until, why = _day(fields.get("until", "")), fields.get("why", "")
            runs = _count(fields.get("runs", "1"))
            decide(hospital, study, verdict, fields.get("by", ""), until, why, shown, runs)
        except OtherThanShown as error:
            return self._shown(digest, str(error), 409, fields)
        except UserError as error:
            return self._shown(digest, str(error), 422, fields)
        except SiteError as error:
            return self._shown(digest, error.detail or error.code.sentence, 422, fields)
        return RedirectResponse(f"{self._session.base}/studies/{digest}#how", 303)

    def _sheet(self, request: Request) -> Response:
        hospital = self._views.hospital()
        _, study = self._views.asked(hospital, _digest(request))
        manifest, why = self._views.manifest(hospital, study)
        if manifest is None:
            raise UserError(f"There is no sheet of {study.name}, as what would leave is not known: {why}")
        page = sheet(manifest, study, people_of(hospital))
        return HTMLResponse(page, headers={"Content-Security-Policy": SHEET})

    def _sent(self, request: Request) -> Response:
        side, end = request.query_params.get("show", "all"), request.query_params.get("end", "")
        if side not in SIDES or not re.fullmatch(r"[0-9]{0,12}", end, re.ASCII):
            raise HTTPException(404, "There is no such page.")
        return self._page("sent", self._views.sent(side, int(end) if end else None))

    def _export(self, _: Request) -> Response:
        hospital = self._views.hospital()
        name = f"{hospital.config.site}-audit-{date.today()}.jsonl"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(_blocks(hospital), headers=headers, media_type="application/jsonl")

    def _page(self, name: str, values: dict[str, object], status: int = 200) -> Response:
        text = self._templates.get_template(f"{name}.html.jinja").render(
            values | {"page": name, "base": self._session.base}
        )
        return HTMLResponse(text, status)


def application(folder: Path, status: Callable[[Hospital], Client], session: Session) -> ASGIApp:
    """The page of a hospital's folder, behind its door."""
    site = Site(folder, status, session)
    handlers = {HTTPException: site.failed, UserError: site.failed}
    return Door(Starlette(routes=site.routes(), exception_handlers=handlers), session)


def serve(
    folder: Path,
    status: Callable[[Hospital], Client],
    listen: str,
    port: int,
    ready: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C.

    Parameters
    ----------
    listen
        A loopback address.
    port
        0: any that is free.
    ready
        Told the address with its token, once.

    Raises
    ------
    UserError
        If the address is not this machine's own, or its port is taken.
    """
    host = loopback(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
        except OSError as error:
            raise UserError(
                f"--port {port}: {host} cannot be listened on there ({error.strerror}). Leave it out."
            ) from error
        session = Session(bound.getsockname()[1])
        config = uvicorn.Config(
            application(folder, status, session),
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        bound.listen()
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{session.port}/?token={session.token}")
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[bound])


def loopback(listen: str) -> str:
    """The address that is listened on.

    Raises
    ------
    UserError
        If it is not one of those under which the page answers, which no other machine reaches.
    """
    name = "127.0.0.1" if listen == "localhost" else listen.strip("[]")
    with contextlib.suppress(ValueError):
        if (address := ipaddress.ip_address(name)) in map(ipaddress.ip_address, ("127.0.0.1", "::1")):
            return str(address)
    raise UserError(
        f"--listen {listen}: other machines could reach that. Leave it out, or give 127.0.0.1 or ::1; from elsewhere, "
        "use an SSH tunnel to the same port."
    )


def _digest(request: Request) -> str:
    found: str = request.path_params["digest"]
    if not DIGEST.fullmatch(found):
        raise HTTPException(404, "There is no such page.")
    return found


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise UserError(f"{text} is no day. Give one such as 2027-06-30, or none.") from error


def _count(text: str) -> int:
    """Of decisions that were shown, or of runs; -1, which neither can be, where the form does not say."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else -1


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    found = b""
    async for block in request.stream():
        found += block
        if len(found) > LARGEST_FORM:
            raise HTTPException(413, "This form is too long. Shorten the reason.")
    try:
        fields = parse_qs(found.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise HTTPException(400, "This form cannot be read. Open the study again.") from error
    return {name: values[0].replace("\r\n", "\n") for name, values in fields.items()}


async def _blocks(hospital: Hospital) -> AsyncIterator[bytes]:
    """The audit as it stands."""
    lines: Iterator[bytes] = Audit(hospital).chain.lines()
    while (line := await run_in_threadpool(next, lines, None)) is not None:
        yield line


def _static(name: str, kind: str) -> Callable[[Request], Response]:
    content = (files("normfed_client.page") / "static" / name).read_bytes()
    return lambda _request: PlainTextResponse(content, media_type=kind)
