"""What the server uses of Flower beyond its public interface: a new version of Flower is met here."""

from __future__ import annotations

from queue import Queue

from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    OBJECT_PUSH_SESSION_TTL_SECONDS,
    TaskType,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.date import now
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.logger import mirror_output_to_queue
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, public_key_to_bytes, verify_signature
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.utils import disable_process_dumping

__all__ = [
    "FLEET_HTTP_PUBLIC_KEY_HEADER",
    "FLEET_HTTP_SIGNATURE_HEADER",
    "OBJECT_PUSH_SESSION_TTL_SECONDS",
    "SYSTEM_TIME_TOLERANCE",
    "TIMESTAMP_HEADER",
    "TIMESTAMP_TOLERANCE",
    "AcquireTaskRequest",
    "ControlHttpClient",
    "Fab",
    "ListNodesRequest",
    "ListRunsRequest",
    "ProtobufCall",
    "ProtobufRequestContext",
    "PushObjectRequest",
    "RegisterNodeRequest",
    "RuntimeHttpClient",
    "RuntimeVersionHttpInterceptor",
    "StartRunRequest",
    "StopRunRequest",
    "SuperExecAuthHttpInterceptor",
    "TaskType",
    "UnregisterNodeRequest",
    "bytes_to_public_key",
    "disable_process_dumping",
    "fab_to_proto",
    "now",
    "public_key_to_bytes",
    "run_serverapp",
    "run_superlink",
    "user_config_to_proto",
    "verify_signature",
]


def run_superlink() -> None:
    """Run `flower-superlink` with the command line of this process."""
    from flwr.superlink.cli.flower_superlink import flower_superlink  # seconds of imports, for this process alone

    flower_superlink()


def run_serverapp(address: str, token: str, certificates: bytes, parent: int) -> None:
    """Run the ServerApp of the run whose token this is, while the parent lives; its log goes to the SuperLink too.

    Parameters
    ----------
    certificates
        Of the authority that the SuperLink's certificate is from.
    parent
        The number of a process.
    """
    from flwr.superlink.runtime import run_serverapp as run  # seconds of imports, for this process alone

    log: Queue[str | None] = Queue()
    mirror_output_to_queue(log)
    run(address, log, token, insecure=False, certificates=certificates, parent_pid=parent)
