"""One message in, its answer out: the function that warm processes serve, in a simulation and in a hospital."""

from __future__ import annotations

from flwr.app import Context, Message, RecordDict

from normfed_common.flower import UserConfig, act_as, deserialise, serialise
from normfed_common.foundation.errors import WireError

UNREADABLE = b""  # in the place of an answer, to a message of which not even its sender can be read


def call(message: Message) -> Message:
    """Answer a message as the site that it is for; in a simulation node n plays partition n - 1."""
    from normfed_client.answering.app import app

    run, node = message.metadata.run_id, message.metadata.dst_node_id
    config: UserConfig = {"partition-id": node - 1}
    return app(message, Context(run, node, config, RecordDict(), {}))


def serve_message(payload: bytes) -> bytes:
    """A worker's function; without a message it only gets warm, and what is not a message it says so of."""
    if not payload:
        import normfed_client.answering.app  # noqa: F401

        return b""
    try:
        message = from_bytes(payload)
    except WireError:
        return UNREADABLE
    act_as(message.metadata.run_id, message.metadata.dst_node_id)
    return to_bytes(call(message))


def to_bytes(message: Message) -> bytes:
    """A message as it goes over a wire or a pipe.

    Raises
    ------
    WireError
        If it holds what no message can.
    """
    try:
        return serialise(message)
    except Exception as error:
        raise WireError("cannot be sent as a message") from error


def from_bytes(payload: bytes) -> Message:
    """The message of `to_bytes`.

    Raises
    ------
    WireError
        If it is not one.
    """
    try:
        return deserialise(payload)
    except Exception as error:
        raise WireError("not a message") from error
