"""Who may look at a hospital's page: the browser that was given the address which the command printed, and no other.

The address works once: it is exchanged for a cookie that scripts cannot read and that no other site's page can send.
Browsers send a machine's cookies to every port of it, to whatever another user of the machine serves there: so this one
is for a path that nobody can guess, below which all is served.
What comes under a name that is not this machine's own is turned away, so that a page from elsewhere whose name was made
to point here gets nothing; and what changes anything needs a token of the form beside it.
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = ("localhost", "127.0.0.1", "[::1]")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would not say where a form came from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
UNKNOWN = "This is a hospital's own page; it answers only under localhost, 127.0.0.1 or [::1].\n"
WITHOUT = (
    "The address that normfed site page printed works once, in one browser, until the command ends: run it again for a "
    "new one.\n"
)


class Session:
    """What one run of the command knows; in memory only."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.token: str | None = secrets.token_urlsafe(32)
        self.cookie, self.form = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.base = f"/{secrets.token_urlsafe(16)}"

    @property
    def cookie_name(self) -> str:
        """Browsers do not tell the ports of a machine apart."""
        return f"normfed-site-{self.port}"

    def exchange(self, given: str) -> bool:
        """Whether this is the token of the address; it is worth nothing from then on."""
        if self.token is None or not _same(given, self.token):
            return False
        self.token = None
        return True

    def admits(self, headers: Headers) -> bool:
        """Whether a request comes from the browser that was let in."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie_name)
        except CookieError:
            return False
        return found is not None and _same(found.value, self.cookie)

    def sent_from_here(self, headers: Headers, token: str) -> bool:
        """Whether a form is one of this page's."""
        origin, host = headers.get("origin", ""), headers.get("host", "")
        return origin.lower() == f"http://{host.lower()}" and _same(token, self.form)


class Door:
    """Stands before everything that is served, errors included."""

    def __init__(self, app: ASGIApp, session: Session) -> None:
        self.app, self.session = app, session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._turned_away(scope)
        if answer is None:
            await self.app({**scope, "root_path": self.session.base}, receive, guarded)
        else:
            await answer(scope, receive, guarded)

    def _turned_away(self, scope: Scope) -> Response | None:
        """What is answered instead; None for who may come in."""
        headers = Headers(scope=scope)
        if headers.getlist("host") not in [[f"{name}:{self.session.port}"] for name in NAMES]:
            return PlainTextResponse(UNKNOWN, 421)
        if scope["path"].startswith(f"{self.session.base}/") and self.session.admits(headers):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] != "GET" or scope["path"] != "/" or not self.session.exchange(given):
            return PlainTextResponse(WITHOUT, 401)
        base = self.session.base
        response = RedirectResponse(f"{base}/", 303)  # the token leaves the address bar
        response.set_cookie(self.session.cookie_name, self.session.cookie, path=base, httponly=True, samesite="strict")
        return response


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), known.encode())
