"""Flower's SuperLink behind a door: who may start runs and admit sites must know the operator's secret.

Flower serves sites, executors and operators on one port, and without accounts whoever reaches that port may start a
run, which is code that the server runs, or register a key. So: paths of the operator's API need the secret; sites'
paths are guarded by their registered keys, the executor's by its own secret and by task tokens.
"""

from __future__ import annotations

import hmac
import logging
import os
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

OPERATOR_HEADER = "normfed-operator"
SECRET_VARIABLE = "NORMFED_OPERATOR_SECRET"  # the file that holds it
OPEN = ("/v1/fleet/", "/v1/runtime/")  # guarded by Flower: node keys, executor's secret, task tokens
OPEN_PATHS = ("/health", "/healthz")


class Door:
    """Lets requests through to the SuperLink, or answers 404: who does not know the secret learns nothing."""

    def __init__(self, app: ASGIApp, secret: bytes) -> None:
        self.app, self.secret = app, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or self._may(scope):
            await self.app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def _may(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if path.startswith(OPEN) or path in OPEN_PATHS:
            return True
        given = dict(scope["headers"]).get(OPERATOR_HEADER.encode(), b"")
        return hmac.compare_digest(given, self.secret)


def main() -> None:
    """Run `flower-superlink` with its own command line, behind the door."""
    from flwr.superlink import main as superlink
    from flwr.superlink.cli.flower_superlink import flower_superlink

    secret = Path(os.environ[SECRET_VARIABLE]).read_bytes()
    create_app = superlink.create_app

    def with_door(*args: object, **kwargs: object) -> ASGIApp:
        app = create_app(*args, **kwargs)  # type: ignore[arg-type]
        app.add_middleware(Door, secret=secret)  # added last, so it stands before all others
        return app

    superlink.create_app = with_door  # type: ignore[assignment]
    logging.getLogger("uvicorn.access").addFilter(lambda _record: False)  # sites ask every few seconds
    flower_superlink()


if __name__ == "__main__":
    main()
