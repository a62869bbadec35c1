"""What stands between Flower's node and our client: acquires tasks, refuses bundles that are not listed, works warm.

Flower's own executor installs whatever bundle the server sends and runs its code in a new process for every message.
Here nothing of a bundle is ever installed or imported: its hash is looked at, and the work is done by the installed
normfed, in a process that stays. That process does not talk to anybody: when it dies, another is given the same
request and goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from pathlib import Path

import httpx

from normfed_client.answering import departure
from normfed_client.answering.serving import from_bytes, to_bytes
from normfed_client.hospital.folder import HOME_VARIABLE, Hospital, open_hospital
from normfed_client.operation.flower import Message, NodeTasks, Task, empty_answer, reply_with
from normfed_client.recording.audit import Audit
from normfed_client.recording.refusing import refused
from normfed_client.withdrawal.expiring import expire
from normfed_common.chain.requests import asked as what_was_asked
from normfed_common.foundation.errors import SiteCode, SiteError, WireError
from normfed_common.processes.pauses import Pauses
from normfed_common.processes.supervision import stop_on_signals
from normfed_common.processes.workers import WorkerDied, WorkerPool
from normfed_common.wire.messages import FENCE, asked, content_of, error_code, refusal

PAUSES = Pauses(0.1, 1.0)  # between two looks for a task of the node, on this machine
HEARTBEAT_S = 10.0
DEATHS = 3  # of the worker with one request, each soon after the other: then it is the request
SOON_S = 600.0
PUSH_TRIES, PUSH_PAUSE_S = 30, 1.0
EXPIRE_EVERY_S = 3600.0

logger = logging.getLogger("normfed_client.runner")


class Runner:
    """Serves the tasks of one node.

    Parameters
    ----------
    address
        Of the node's own interface, on this machine.
    function
        What the warm process serves.
    """

    def __init__(
        self, hospital: Hospital, address: str, function: str = "normfed_client.answering.serving:serve_message"
    ) -> None:
        self.hospital, self.address, self.function = hospital, address, function
        self._pool = WorkerPool(function, 1)
        self._expired = 0.0
        self._busy_at = time.monotonic()  # when a task came or was answered last: the next may follow soon

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        self._pool.submit(lambda: b"")  # gets warm while nothing is asked yet
        tasks = NodeTasks.all(self.address, self.hospital.secret.read_bytes())
        try:
            while not stop.wait(PAUSES.after(time.monotonic() - self._busy_at)):
                self._expire()
                try:
                    found = tasks.acquire()
                except httpx.HTTPError:
                    continue  # the node is starting, or starting again
                if found is not None:
                    self._busy_at = time.monotonic()
                    # A node that was broken off while it received a request leaves a task behind that nobody can
                    # ever do: it must not keep the next ones waiting.
                    threading.Thread(target=self._serve, args=found, daemon=True).start()
        finally:
            self._pool.close()
            tasks.close()

    def _serve(self, task: Task, token: str) -> None:
        """One task; whatever happens, the next one is served."""
        node = NodeTasks.one(self.address, token)
        try:
            with _heartbeat(node):
                message, context = node.request()
                reply = self._answer(message, task.fab_hash)
                _insist(lambda: node.answer(reply, context))
                node.complete(context)
        except Exception as error:  # noqa: BLE001  (what is not delivered waits in the outbox)
            logger.warning("task %s: %s: %s", task.task_id, type(error).__name__, error)
        finally:
            self._busy_at = time.monotonic()
            node.close()

    def _answer(self, message: Message, bundle: str) -> Message:
        kind = message.metadata.message_type
        if bundle not in self._accepted():
            logger.error("refused %s: bundle %s is not listed in site.yaml", kind, bundle)
            return self._refusal(message, SiteCode.BUNDLE_REFUSED)
        if kind == FENCE:
            return empty_answer(message)
        begin = time.monotonic()
        deaths = 0
        while deaths < DEATHS:
            tried = time.monotonic()
            try:
                future = self._pool.submit(partial(to_bytes, message))
                reply = self._may_leave(message, from_bytes(future.result(self._longest_s)))
                logger.info("%s %s in %.1f s", kind, _outcome(reply), time.monotonic() - begin)
                return reply
            except WireError:
                logger.error("%s: the request cannot be read", kind)
                return self._refusal(message, SiteCode.BAD_REQUEST)
            except WorkerDied as error:
                deaths = deaths + 1 if time.monotonic() - tried < SOON_S else 1
                logger.error("%s: %s (%d of %d)", kind, error, deaths, DEATHS)
            except FutureTimeout:
                logger.error("%s: broken off after %.1f h", kind, self.hospital.config.longest_task_hours)
                self._pool.close()
                self._pool = WorkerPool(self.function, 1)
                return self._refusal(message, SiteCode.TOOK_TOO_LONG)
        return self._refusal(message, SiteCode.WORKER_DIED)

    def _refusal(self, message: Message, code: SiteCode) -> Message:
        """One that the runner makes itself, once it is in the audit."""
        try:
            request = asked(message)
        except Exception:  # noqa: BLE001  (a message that is none: it is refused all the same)
            request = None
        return refusal(message, refused(self.hospital, request, code))

    @property
    def _longest_s(self) -> float:
        return self.hospital.config.longest_task_hours * 3600

    def _may_leave(self, message: Message, reply: Message) -> Message:
        """The reply of the process that works, in an envelope of this one's; a refusal in the place of what is not
        declared, or of which there is no record. What a plug-in or a model may have done to that process has no part
        in this."""
        try:
            departure.check(self.hospital, message, reply)
            check_recorded(self.hospital, message, reply)
        except Exception as error:  # noqa: BLE001  (what cannot be looked at does not leave)
            detail = error.detail if isinstance(error, SiteError) else type(error).__name__
            logger.error("stopped an answer to %s: %s", message.metadata.message_type, detail)
            return self._refusal(message, error.code if isinstance(error, SiteError) else SiteCode.UNDECLARED)
        return refusal(message, error_code(reply)) if reply.has_error() else reply_with(message, reply)

    def _accepted(self) -> tuple[str, ...]:
        """As site.yaml says now; one that cannot be read accepts nothing."""
        try:
            now = open_hospital(self.hospital.folder)
            if now.config != self.hospital.config:
                Audit(now).note_rules()
            self.hospital = now
        except Exception as error:  # noqa: BLE001
            logger.error("%s", error)
            return ()
        return self.hospital.config.bundles

    def _expire(self) -> None:
        if time.monotonic() - self._expired > EXPIRE_EVERY_S or not self._expired:
            self._expired = time.monotonic()
            with contextlib.suppress(OSError):
                for what, paths in expire(self.hospital).items():
                    logger.info("kept no longer: %s (%d)", what, len(paths))


def check_recorded(hospital: Hospital, message: Message, reply: Message) -> None:
    """Refuse to send an answer that is not in the audit.

    Raises
    ------
    SiteError
        If it is not.
    """
    if reply.has_error():
        return
    header, content = content_of(reply)
    why = Audit(hospital).lacks(what_was_asked(asked(message)), content, header.head)
    if why:
        raise SiteError(SiteCode.AUDIT_UNUSABLE, f"the audit: {why}")


def _outcome(reply: Message) -> str:
    """Answered, or why not: whoever looks at a site's status must not take a refusal for an answer."""
    if not reply.has_error():
        return "answered"
    code = error_code(reply)
    return f"refused ({code.sentence}, code {int(code)} {code.name})"


@contextlib.contextmanager
def _heartbeat(node: NodeTasks) -> Iterator[None]:
    """Tell the node that the task is alive; once the node has forgotten it, the work goes on for the outbox."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_S):
            try:
                node.beat()
            except httpx.TransportError:
                continue
            except httpx.HTTPStatusError:
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _insist(send: Callable[[], None]) -> None:
    """Try again while the node does not answer: it may be starting again."""
    for attempt in range(PUSH_TRIES):
        try:
            send()
            return
        except httpx.TransportError:
            if attempt == PUSH_TRIES - 1:
                raise
            time.sleep(PUSH_PAUSE_S)


def main() -> None:
    """Serve the node at the address that the command line gives, for the hospital of the environment."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"  # the node is on this machine, and nobody else is called
    hospital = open_hospital(Path(os.environ[HOME_VARIABLE]))
    Runner(hospital, sys.argv[1]).run(stop_on_signals())


if __name__ == "__main__":
    main()
