"""Is a process well? Asked over the standard gRPC health protocol, which Flower's processes speak."""

from __future__ import annotations

import random
import socket

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from normfed_common.foundation.errors import UserError

PORTS = range(20_000, 32_000)


def serving(address: str, timeout_s: float = 5.0) -> bool:
    """Whether the process behind ``address`` says that it serves."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False
    return bool(answer.status == HealthCheckResponse.SERVING)


def free_port() -> int:
    """A port of this machine that nobody uses, and that the system does not give to outgoing connections either."""
    first = random.SystemRandom().randrange(len(PORTS))
    for port in (*PORTS[first:], *PORTS[:first]):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise UserError(f"No port between {PORTS.start} and {PORTS.stop - 1} is free on this machine.")
