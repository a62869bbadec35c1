"""What a hospital's processes use of Flower beyond its public interface: a new version of Flower is met here."""

from __future__ import annotations

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

__all__ = [
    "AcquireTaskRequest",
    "ActivateNodeRequest",
    "DeactivateNodeRequest",
    "FleetHttpClient",
    "NodeAuthHttpInterceptor",
    "ProtobufClientInterceptor",
    "RuntimeHttpClient",
    "RuntimeTokenHttpInterceptor",
    "RuntimeVersionHttpInterceptor",
    "SendTaskHeartbeatRequest",
    "SuperExecAuthHttpInterceptor",
    "Task",
    "TaskType",
    "public_key_to_bytes",
    "pull_task_input",
    "push_message",
    "push_task_output",
    "run_supernode",
]


def run_supernode() -> None:
    """Run `flower-supernode` with the command line of this process."""
    from flwr.supernode.cli.flower_supernode import flower_supernode  # seconds of imports, for this process alone

    flower_supernode()
