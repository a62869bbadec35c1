"""What a hospital's processes use of Flower: a new version of Flower is met here."""

from __future__ import annotations

import time

from flwr.app import Context, Message, RecordDict
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.proto.task_pb2 import Task
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from normfed_common.processes.pauses import Pauses

QUICKEST = 4.0  # times as quick as Flower's own a node looks at first

__all__ = [
    "ActivateNodeRequest",
    "DeactivateNodeRequest",
    "FleetHttpClient",
    "Message",
    "NodeAuthHttpInterceptor",
    "NodeTasks",
    "RuntimeVersionHttpInterceptor",
    "Task",
    "empty_answer",
    "public_key_to_bytes",
    "reply_with",
    "run_supernode",
]


def run_supernode() -> None:
    """Run `flower-supernode` with the command line of this process, with pauses of our own."""
    from flwr.supernode import start_client_internal as node
    from flwr.supernode.cli.flower_supernode import flower_supernode  # seconds of imports, for this process alone

    vars(node)["time"] = _Pausing()
    flower_supernode()


class _Pausing:
    """Stands for the module `time` in Flower's loop, whose pauses (3 s for a request, 0.5 s for an answer of our own)
    are the same however long it has waited: here they begin shorter and grow up to those."""

    def __init__(self) -> None:
        self._wanted_s = self._since = 0.0

    def sleep(self, wanted_s: float) -> None:
        """Pause; a pause of another length than the last is another wait."""
        if wanted_s != self._wanted_s:
            self._wanted_s, self._since = wanted_s, time.monotonic()
        time.sleep(Pauses(wanted_s / QUICKEST, wanted_s).after(time.monotonic() - self._since))


def empty_answer(message: Message) -> Message:
    """An answer without content."""
    return Message(RecordDict(), reply_to=message)


def reply_with(message: Message, reply: Message) -> Message:
    """The content of a reply, and of its envelope nothing: that is made anew."""
    return Message(reply.content, reply_to=message)


class NodeTasks:
    """The tasks of the node on this machine, through its own interface; every call raises `httpx.HTTPError`.

    Without Flower's own retrying, which ends the process when a node has forgotten a task.
    """

    def __init__(self, address: str, *interceptors: ProtobufClientInterceptor) -> None:
        self._client = RuntimeHttpClient.from_server_address(
            address,
            insecure=True,
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"), *interceptors],
        )

    @classmethod
    def all(cls, address: str, secret: bytes) -> NodeTasks:
        """Whoever knows the node's secret may `acquire` tasks."""
        methods = frozenset({"/flwr.proto.Runtime/AcquireTask"})
        return cls(address, SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=methods))

    @classmethod
    def one(cls, address: str, token: str) -> NodeTasks:
        """Whoever has a task's token may do everything else with it."""
        return cls(address, RuntimeTokenHttpInterceptor(token))

    def acquire(self) -> tuple[Task, str] | None:
        """A task and its token, if there is one to do."""
        found = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
        return (found.task, found.token) if found.HasField("task") and found.token else None

    def beat(self) -> None:
        """The task is alive."""
        self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest())

    def request(self) -> tuple[Message, Context]:
        """What the server asks, and what Flower keeps of the run."""
        message, context, _run, _bundle = pull_task_input(self._client)
        return message, context

    def answer(self, reply: Message, context: Context) -> None:
        """Send the answer."""
        push_message(self._client, reply, context)

    def complete(self, context: Context) -> None:
        """The task is done. What we keep lies on disk; Flower keeps nothing for us."""
        context.state = RecordDict()
        push_task_output(self._client, context, "completed", "")

    def close(self) -> None:
        """Call nobody any more."""
        self._client.close()
