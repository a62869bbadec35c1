"""The processes of a hospital: Flower's node, which calls the server, and our runner, which does the work."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from normfed_client.consent.approvals import Approvals
from normfed_client.hospital.folder import HOME_VARIABLE, Hospital
from normfed_client.recording.audit import Audit
from normfed_client.withdrawal.people import check_list
from normfed_common.chain.kinds.shared import Stopped
from normfed_common.processes.health import free_port, serving
from normfed_common.processes.supervision import Service, Supervisor, only_one

NODE = "node"
SAME_AGAIN_S = 300.0
LET_IN = (
    "The server answers, but does not let this site in. Either its operator has not accepted the key yet, or shut it "
    "out; or the server still counts another connection with this key: a copy of this site's folder that runs "
    "elsewhere (stop one of the two), or the connection that broke a minute ago. Trying again."
)
LACKED = "decisions.json, an older copy, did not have it."
# What Flower's node says, and whether it is connected then.
CONNECTED = {"SuperNode ID": True, "Connection successful": True, "Connection attempt failed": False}


def start(hospital: Hospital, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Run the hospital's client until told to stop.

    Raises
    ------
    UserError
        If it runs already, a secret is not secret, the audit cannot be written, or somebody withdrew who is not on the
        list.
    """
    hospital.check()
    with only_one(hospital.log, "this site's client, or normfed site forget,"):
        check_list(hospital)
        for decision in Approvals(hospital.folder).catch_up():
            which = f"study {decision.study[:12]} ({decision.name})"
            say(f"{which}: {decision.verdict} by {decision.by} on {decision.day}, says the audit; {LACKED}")
        audit = Audit(hospital)
        audit.started()
        explained = Explained(hospital, say)
        Supervisor(services(hospital, explained.heard), hospital.log, explained).run(stop)
        audit.append(Stopped())


class Explained:
    """What the supervisor says; and whether the node is connected, and why it probably ended.

    A change of the connection is said once, the reason of an end at most every few minutes the same.
    """

    def __init__(self, hospital: Hospital, say: Callable[[str], None]) -> None:
        self.hospital, self.say = hospital, say
        self._last, self._at = "", 0.0
        self._connected: bool | None = None
        self._ever = False

    def __call__(self, text: str) -> None:
        """Say it."""
        self.say(text)
        if text.startswith(f"{NODE}: ended"):
            self._connected = False
            threading.Thread(target=self._explain, daemon=True).start()  # it asks the network, which may take a while

    def heard(self, line: str) -> None:
        """A line of the node: is it connected?"""
        for mark, connected in CONNECTED.items():
            if mark in line and connected != self._connected:
                before, self._connected = self._connected, connected
                self._say_connection(connected, before)

    def _say_connection(self, connected: bool, before: bool | None) -> None:
        server = self.hospital.config.server
        if connected:
            self.say(f"connected to {server}{' again' if self._ever else ''}.")
            self._ever = True
        elif before:
            self.say(f"the connection to {server} is lost; trying again.")
        else:
            self.say(f"{server} does not answer; trying again.")

    def _explain(self) -> None:
        from normfed_client.operation.link import link

        wrong = [finding for finding in link(self.hospital) if finding.severity == 2]
        text = "\n".join(f"{f.what}: {f.found}. {f.cure}" for f in wrong) or LET_IN
        if text != self._last or time.monotonic() - self._at > SAME_AGAIN_S:
            self._last, self._at = text, time.monotonic()
            self.say(text)


def services(hospital: Hospital, heard: Callable[[str], None] | None = None) -> list[Service]:
    """Node and runner; ``heard`` is told what the node says."""
    port, health = free_port(), f"127.0.0.1:{free_port()}"
    node = [
        *(sys.executable, "-m", "normfed_client.operation.node"),
        *("--superlink", hospital.config.server),
        *("--root-certificates", str(hospital.ca)),
        *("--auth-supernode-private-key", str(hospital.key)),
        *("--isolation", "process"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--superexec-auth-secret-file", str(hospital.secret)),
        *("--health-server-address", health),
    ]
    # Flower, torch and whoever makes temporary files keep them where they are told to, beside ours.
    common = {
        HOME_VARIABLE: str(hospital.folder),
        "FLWR_HOME": str(hospital.folder / "flower"),
        "TORCHINDUCTOR_CACHE_DIR": str(hospital.cache / "torch"),
        "TMPDIR": str(hospital.temporary),
    }
    return [
        Service(NODE, node, common, partial(serving, health), (hospital.ca,), heard),
        Service("runner", [sys.executable, "-m", "normfed_client.operation.runner", f"127.0.0.1:{port}"], common),
    ]
