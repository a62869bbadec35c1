"""What both sides use of Flower beyond its public interface: here is what a new version of Flower may break."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import Message
from flwr.app.user_config import UserConfig
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = ["SUPERLINK_NODE_ID", "NodeInfo", "Run", "UserConfig", "act_as", "build_fab", "deserialise", "serialise"]


def act_as(run: int, node: int) -> None:
    """Tell Flower for whom this process speaks; the messages that it makes carry that."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run, node, 1


def serialise(message: Message) -> bytes:
    """A message as Flower sends it; raises what Flower raises."""
    return message_to_proto(message).SerializeToString()


def deserialise(payload: bytes) -> Message:
    """The message of `serialise`; raises what Flower raises."""
    return message_from_proto(ProtoMessage.FromString(payload))


def build_fab(files: Mapping[str, bytes]) -> bytes:
    """Flower's bundle of some files, by their paths in it."""
    from flwr.cli.build import build_fab_from_files  # a second of imports, which nothing else here needs

    return build_fab_from_files(dict(files))[0]
