"""Flower's SuperLink behind the door: the same command line, another way in."""

from __future__ import annotations

import gc
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from normfed_common.chain.kinds.server import TurnedAway
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.units import MEGABYTE
from normfed_server.state import admission
from normfed_server.state.chain import record
from normfed_server.state.folder import HOME_VARIABLE, ServerConfig, ServerHome, open_home
from normfed_server.superlink.control import key_bytes
from normfed_server.superlink.door import Door, Known, Limits
from normfed_server.superlink.flower import run_superlink
from normfed_server.superlink.listening import Guests, Server
from normfed_server.superlink.refusals import Refusals, Turned

ENDING_S = 5  # for what is being served when the server is told to stop


class AcceptedKeys:
    """The keys of the sites that the operator accepted, as the file says now."""

    def __init__(self, home: ServerHome) -> None:
        self.home = home
        self._read_at = 0
        self._keys: Known = {}

    def __call__(self) -> Known:
        """By key, as Flower writes it; a file that is damaged changes nothing."""
        try:
            changed_at = self.home.sites.stat().st_mtime_ns
            if changed_at != self._read_at:
                accepted = {n: m for n, m in admission.members(self.home).items() if m.state == "accepted"}
                self._keys = {key_bytes(member.key): name for name, member in accepted.items()}
                self._read_at = changed_at
        except (OSError, UserError, ValueError):
            pass
        return self._keys


def limits(config: ServerConfig) -> Limits:
    """What server.yaml says."""
    return Limits(
        request_bytes=round(config.largest_request_mb * MEGABYTE),
        message_bytes=round(config.largest_message_mb * MEGABYTE),
        upload_s=config.longest_upload_minutes * 60,
    )


def server(app: ASGIApp, home: ServerHome, **options: Any) -> Server:
    """What serves an application behind the door of an operator's folder.

    Parameters
    ----------
    options
        Of uvicorn.
    """
    refusals = Refusals(home.log / "door.log", hourly=partial(_turned_away, home))
    door = Door(app, home.operator_secret.read_bytes(), AcceptedKeys(home), limits(home.config), refusals)
    # Who is asking is what the connection says, never a header.
    config = uvicorn.Config(door, **options, ws="none", proxy_headers=False, timeout_graceful_shutdown=ENDING_S)
    return Server(config, Guests(home.config.connections_per_address), refusals)


def _turned_away(home: ServerHome, turned: Turned) -> None:
    """Write strangers' attempts into the chain; one that cannot be written closes no door, and is in the log."""
    who, why, times, hour = turned
    try:
        record(home, TurnedAway(network=who, why=why.removesuffix(" for"), times=times, hour=hour))
    except (UserError, ValueError) as error:
        logging.getLogger(__name__).warning("the attempts of %s are not in the chain: %s", who, error)


def main() -> None:
    """Run `flower-superlink` with its own command line, behind the door."""
    home = open_home(Path(os.environ[HOME_VARIABLE]))

    def run(app: ASGIApp, **options: Any) -> None:
        try:
            serving = server(app, home, **options)
        except OSError as error:
            sys.exit(f"{options['host']}:{options['port']}: cannot be listened on ({error.strerror}).")
        gc.freeze()  # all that was imported stays: walking it again and again was a third of this process' time
        serving.run()
        if not serving.started:
            sys.exit(1)

    uvicorn.run = run  # type: ignore[assignment]  # what Flower calls
    logging.getLogger("uvicorn.access").addFilter(lambda _record: False)  # sites ask every few seconds
    run_superlink()


if __name__ == "__main__":
    main()
