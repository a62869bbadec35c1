"""Who may look at the monitor: whoever asks under a name of its own, and has a token where server.yaml requires one."""

from __future__ import annotations

import re
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from normfed_server.state import tokens
from normfed_server.state.folder import LOCAL, ServerHome

OPEN = ("/healthz",)  # says "ok" or not, to whatever watches the process

UNKNOWN = PlainTextResponse(
    "This is the monitor of a normfed server, under a name that it does not know. Add the name of the address bar to "
    "monitor_hosts in server.yaml, and start the server again.\n",
    421,
)
WITHOUT = PlainTextResponse(
    "The monitor asks for a token, and there is none with this request, or it has expired. On the server: normfed "
    "server token\n",
    401,
    {"WWW-Authenticate": "Bearer"},
)


class KnownHosts:
    """Answers only under names of its own: a page from elsewhere whose name was made to point here gets nothing."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        known = scope["type"] != "http" or host(Headers(scope=scope)) in self.hosts
        await (self.app if known else UNKNOWN)(scope, receive, send)


class Tokens:
    """Asks for a token where server.yaml requires one: a bearer's, or a cookie, which the address with the token sets.

    What is served for long asks `admitted` again.
    """

    def __init__(self, app: ASGIApp, home: ServerHome) -> None:
        self.app, self.home = app, home

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in OPEN or admitted(self.home, scope):
            await self.app(scope, receive, send)
            return
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] != "/" or not tokens.admits(self.home, given):
            await WITHOUT(scope, receive, send)
            return
        # The token leaves the address bar.
        response = RedirectResponse("/", 303)
        secure = host(Headers(scope=scope)) not in LOCAL  # elsewhere it comes through a proxy with TLS, or not at all
        response.set_cookie(cookie(self.home), given, httponly=True, samesite="strict", secure=secure)
        await response(scope, receive, send)


def admitted(home: ServerHome, scope: Scope) -> bool:
    """Whether a request may be served now."""
    if home.config.monitor_token == "off":
        return True
    headers = Headers(scope=scope)
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return tokens.admits(home, bearer.strip())
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie(home))
    except CookieError:
        return False
    return found is not None and tokens.admits(home, found.value)


def cookie(home: ServerHome) -> str:
    """Its name; browsers do not tell the ports of a machine apart, on which several federations may be."""
    return f"normfed-{home.config.monitor_port}"


def host(headers: Headers) -> str:
    """The name that is asked for, without the port; empty if there is not exactly one."""
    named = headers.getlist("host")
    return re.sub(r":\d*$", "", named[0].lower()) if len(named) == 1 else ""
