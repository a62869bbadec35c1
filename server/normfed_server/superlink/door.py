"""The door before Flower's SuperLink: who asks is known before a byte of the question is taken in.

Flower serves sites, executors and operators on one port, and reads every request whole, whoever sent it, before it
looks at keys. So here, by the headers alone:

- an operator knows the secret, and may ask for everything;
- a site signs the time with an accepted key, and may ask what sites ask, in requests of a bounded size;
- processes of this machine may ask for the runtime's paths, where the executor's secret and the runs' tokens count;
- anybody else is a stranger, may ask what sites ask in a few bytes (Flower says what is wrong with the key), and is
  written down.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from normfed_common.foundation.versions import PROTOCOL, PROTOCOL_HEADER, installed_version, short
from normfed_server.superlink.flower import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    OBJECT_PUSH_SESSION_TTL_SECONDS,
    SYSTEM_TIME_TOLERANCE,
    TIMESTAMP_HEADER,
    TIMESTAMP_TOLERANCE,
    PushObjectRequest,
    bytes_to_public_key,
    now,
    verify_signature,
)
from normfed_server.superlink.refusals import Refusals

OPERATOR_HEADER = "normfed-operator"
FLEET, RUNTIME = "/v1/fleet/", "/v1/runtime/"
PUSH_OBJECT = FLEET + "push-object"
HEALTH = ("/health", "/healthz")
STRANGER_BYTES, STRANGER_S = 4096, 20.0  # a site that is not accepted yet sends 300 bytes

Known = Mapping[bytes, str]  # accepted public keys, as Flower writes them, and their sites


@dataclass(frozen=True)
class Limits:
    """What is enough for every honest request.

    Parameters
    ----------
    request_bytes
        Of one request.
    message_bytes
        Of one answer of a site, all its requests together.
    upload_s
        For one request to come in.
    silence_s
        Between two pieces of it.
    """

    request_bytes: int
    message_bytes: int
    upload_s: float
    silence_s: float = 120.0


class Refused(Exception):
    """A request that goes no further; the text is for the log."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Door:
    """Lets requests through to the SuperLink once they are whole; who may not ask gets 404, and learns nothing.

    Parameters
    ----------
    secret
        The operator's.
    known
        Gives the sites that are accepted now.
    """

    def __init__(
        self, app: ASGIApp, secret: bytes, known: Callable[[], Known], limits: Limits, refusals: Refusals
    ) -> None:
        self.app, self.secret, self.known, self.limits, self.refusals = app, secret, known, limits, refusals
        self._held: dict[str, _Held] = {}
        self._messages: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # by last use

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        address, path = scope["client"][0] if scope["client"] else "", scope["path"]
        sender, why = None, ""
        try:
            sender, why = self._sender(scope)
            if sender is None:
                await self._serve_stranger(scope, receive, _saying_versions(send) if path in HEALTH else send)
            else:
                await self._serve_known(sender, scope, receive, send)
        except Refused as error:
            why = str(error)
            await _refuse(send, error.status, closing=sender is None)
        except _Gone:
            pass
        if why:
            self.refusals.note(address, f"{sender}: {why}" if sender else why, path)

    def _sender(self, scope: Scope) -> tuple[str | None, str]:
        """Who asks, None for a stranger; and what is wrong with who nearly is somebody."""
        headers, path = Headers(scope=scope), scope["path"]
        if hmac.compare_digest(headers.get(OPERATOR_HEADER, "").encode("latin-1"), self.secret):
            return "operator", ""
        if path in HEALTH:
            return None, ""
        if path.startswith(FLEET):
            return self._site(headers)
        if path.startswith(RUNTIME) and _is_own(scope):
            return "own machine", ""
        raise Refused(404, "asked without the secret for")

    def _site(self, headers: Headers) -> tuple[str | None, str]:
        """The site that signed the time, as Flower will check once more."""
        try:
            key = b64decode(headers[FLEET_HTTP_PUBLIC_KEY_HEADER], validate=True)
            signature = b64decode(headers[FLEET_HTTP_SIGNATURE_HEADER], validate=True)
            signed = headers[TIMESTAMP_HEADER]
            site = self.known().get(key)
            if site is None:
                return None, "asked with a key that is not accepted for"
            age = (now() - datetime.fromisoformat(signed)).total_seconds()
            timely = -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE
            if not verify_signature(bytes_to_public_key(key), signed.encode("ascii"), signature):
                return None, f"asked with the key of {site}, but another signature, for"
            return (f"site {site}", "") if timely else (None, f"asked with the key of {site}, but a wrong clock, for")
        except (KeyError, ValueError, TypeError):  # not base64, not a time, a time without zone
            return None, "asked without a key for"

    async def _serve_stranger(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(scope, receive, STRANGER_BYTES, STRANGER_S, STRANGER_S)
        try:
            async with asyncio.timeout(STRANGER_S):
                await self.app(scope, _again(body, receive), send)
        except TimeoutError as error:  # does not take the answer
            raise _Gone from error

    async def _serve_known(self, sender: str, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self.limits
        held = self._held.setdefault(sender, _Held(2 * limits.request_bytes))
        async with held.for_this(_announced(scope, limits.request_bytes)):
            body = await _body(scope, receive, limits.request_bytes, limits.upload_s, limits.silence_s)
            if scope["path"] == PUSH_OBJECT:
                self._count(sender, body)
            await self.app(scope, _again(body, receive), send)

    def _count(self, sender: str, body: bytes) -> None:
        """Add up what belongs to one message; Flower takes it in pieces, and forgets one that is not gone on with."""
        request = PushObjectRequest()
        try:
            request.ParseFromString(body)
        except DecodeError:
            return  # Flower refuses it
        message, moment = (sender, request.session_id[:64]), time.monotonic()
        while self._messages and moment - next(iter(self._messages.values()))[1] > OBJECT_PUSH_SESSION_TTL_SECONDS:
            self._messages.popitem(last=False)
        total = self._messages.pop(message, (0, 0.0))[0] + len(request.object_content)
        self._messages[message] = (total, moment)
        if total > self.limits.message_bytes:
            raise Refused(413, "sent more than largest_message_mb of server.yaml with")


class _Gone(Exception):
    """Whoever asked is gone."""


class _Held:
    """Bytes that one sender may have in memory at the same time: what is more waits outside."""

    def __init__(self, most: int) -> None:
        self._free, self._changed = most, asyncio.Condition()

    @asynccontextmanager
    async def for_this(self, size: int) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: size <= self._free)
            self._free -= size
        try:
            yield
        finally:
            async with self._changed:
                self._free += size
                self._changed.notify_all()


def _is_own(scope: Scope) -> bool:
    """Whether the connection comes from this machine: by the loopback, or from the address that it came to."""
    if not scope["client"]:
        return False
    return is_local(scope["client"][0], scope["server"][0] if scope["server"] else "")


def is_local(address: str, reached: str) -> bool:
    """Whether a connection from one address that reached another never left this machine."""
    try:
        return address == reached or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _announced(scope: Scope, most: int) -> int:
    """The size of a body by its header; the largest where there is none."""
    size = Headers(scope=scope).get("content-length", "")
    return min(int(size), most) if size.isdecimal() else most


async def _body(scope: Scope, receive: Receive, most: int, longest_s: float, silence_s: float) -> bytes:
    """All of a request, once it is there; none of it is kept if it is too large or too slow."""
    size = Headers(scope=scope).get("content-length", "")
    if size.isdecimal() and int(size) > most:
        raise Refused(413, f"announced more than {most:,} bytes for")
    pieces, deadline = bytearray(), time.monotonic() + longest_s
    while True:
        try:
            message = await asyncio.wait_for(receive(), min(silence_s, deadline - time.monotonic()))
        except TimeoutError as error:
            raise Refused(408, "was too slow with its request for") from error
        if message["type"] == "http.disconnect":
            raise _Gone
        pieces += message.get("body", b"")
        if len(pieces) > most:
            raise Refused(413, f"sent more than {most:,} bytes for")
        if not message.get("more_body", False):
            return bytes(pieces)


def _again(body: bytes, receive: Receive) -> Receive:
    """What was received, once more in one piece; then whatever comes."""
    pieces = [body]

    async def receive_again() -> Message:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(), "more_body": False}
        return await receive()

    return receive_again


def _saying_versions(send: Send) -> Send:
    """An answer with what a hospital wants to know before an upgrade; strangers are not told the last number."""
    said = f"{PROTOCOL} {short(installed_version())}".encode()

    async def send_with_versions(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (PROTOCOL_HEADER.encode(), said)]}
        await send(message)

    return send_with_versions


async def _refuse(send: Send, status: int, closing: bool) -> None:
    """An empty answer. A site's connection stays, so that it gets it while it still sends."""
    headers = [(b"content-length", b"0"), *([(b"connection", b"close")] if closing else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
