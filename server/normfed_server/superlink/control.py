"""What only the operator may ask of the SuperLink: start and stop runs, admit and shut out nodes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import httpx

from normfed_common.deployment import bundle
from normfed_common.deployment.enrolment import public_key
from normfed_common.flower import NodeInfo
from normfed_server.state.folder import ServerHome
from normfed_server.superlink.door import OPERATOR_HEADER
from normfed_server.superlink.flower import (
    ControlHttpClient,
    Fab,
    ListNodesRequest,
    ListRunsRequest,
    ProtobufCall,
    ProtobufRequestContext,
    RegisterNodeRequest,
    RuntimeVersionHttpInterceptor,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
    fab_to_proto,
    public_key_to_bytes,
    user_config_to_proto,
)

FINISHED = "finished"


@dataclass(frozen=True)
class FlowerRun:
    """How Flower sees a run."""

    status: str
    details: str


class Control:
    """Speaks to the SuperLink of an operator's folder; raises httpx.HTTPError while it does not answer."""

    def __init__(self, home: ServerHome) -> None:
        secret = home.operator_secret.read_bytes().decode()
        self._client = ControlHttpClient.from_server_address(
            home.local_address,
            insecure=False,
            root_certificates=home.ca.read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI"), _Operator(secret)],
        )

    def start(self, run: str) -> int:
        """Start a Flower run of one of our runs; returns its number."""
        content = bundle.content()
        fab = Fab(hashlib.sha256(content).hexdigest(), content, {})
        request = StartRunRequest(
            fab=fab_to_proto(fab), override_config=user_config_to_proto({bundle.RUN_KEY: run}), federation=""
        )
        return int(self._client.StartRun(request).run_id)

    def stop(self, number: int) -> None:
        """End a Flower run."""
        self._client.StopRun(StopRunRequest(run_id=number))

    def run(self, number: int) -> FlowerRun | None:
        """How a Flower run stands; None if the SuperLink does not know it."""
        try:
            found = self._client.ListRuns(ListRunsRequest(run_id=number)).run_dict
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise
        if number not in found:
            return None
        status = found[number].status
        return FlowerRun(status.status, status.details)

    def nodes(self) -> dict[bytes, NodeInfo]:
        """Registered nodes, by public key."""
        nodes = self._client.ListNodes(ListNodesRequest()).nodes_info
        return {node.public_key: node for node in nodes if node.status != "unregistered"}

    def register(self, site: str, key: str) -> int:
        """Admit a key; returns the number of its node."""
        request = RegisterNodeRequest(public_key=key_bytes(key), name=site)
        return int(self._client.RegisterNode(request).node_id)

    def unregister(self, node: int) -> None:
        """Shut a node out."""
        self._client.UnregisterNode(UnregisterNodeRequest(node_id=node))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def key_bytes(key: str) -> bytes:
    """A public key as Flower stores it."""
    return public_key_to_bytes(public_key(key.encode()))


class _Operator:
    """Says who is asking."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers[OPERATOR_HEADER] = self.secret
        return call_next(context)
