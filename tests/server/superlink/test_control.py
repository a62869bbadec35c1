"""What the operator asks of the SuperLink, as Flower's own messages."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.control_pb2 import (
    ListNodesResponse,
    ListRunsResponse,
    RegisterNodeResponse,
    StartRunResponse,
)
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.run_pb2 import Run, RunStatus
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.primitives.asymmetric import bytes_to_public_key

from normfed_common.deployment import bundle
from normfed_server.state.folder import ServerHome
from normfed_server.superlink.control import Control, FlowerRun, _Operator, key_bytes
from normfed_server.superlink.door import OPERATOR_HEADER


class SuperLink:
    """Answers as it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.connection: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def __getattr__(self, name: str) -> Any:
        def call(request: Any = None) -> Any:
            self.asked.append((name, request))
            answer = self.answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


@pytest.fixture
def superlink(monkeypatch: pytest.MonkeyPatch) -> SuperLink:
    found = SuperLink()

    def connect(*arguments: Any, **named: Any) -> SuperLink:
        found.connection = (arguments, named)
        return found

    monkeypatch.setattr(ControlHttpClient, "from_server_address", connect)
    return found


@pytest.fixture
def control(home: ServerHome, superlink: SuperLink) -> Control:
    return Control(home)


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "https://127.0.0.1:8000/v1/control")
    return httpx.HTTPStatusError(str(code), request=request, response=httpx.Response(code, request=request))


def public_key() -> tuple[ec.EllipticCurvePublicKey, str]:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return key, line.decode()


def test_it_connects_to_this_machine_and_trusts_the_federations_authority_alone(
    home: ServerHome, superlink: SuperLink, control: Control
) -> None:
    arguments, named = superlink.connection
    assert arguments == ("127.0.0.1:8000",)
    assert (named["insecure"], named["root_certificates"]) == (False, home.ca.read_bytes())


def test_every_request_says_that_the_operator_asks(home: ServerHome, superlink: SuperLink, control: Control) -> None:
    (operator,) = [one for one in superlink.connection[1]["interceptors"] if isinstance(one, _Operator)]

    class Context:
        request = httpx.Request("POST", "https://127.0.0.1:8000/v1/control")

    answer = httpx.Response(200)
    assert operator.intercept(Context, lambda context: answer) is answer  # type: ignore[arg-type, return-value]
    assert Context.request.headers[OPERATOR_HEADER] == home.operator_secret.read_text()


def test_a_run_starts_with_the_bundle_that_hospitals_were_told_of(superlink: SuperLink, control: Control) -> None:
    superlink.answers["StartRun"] = StartRunResponse(run_id=2**63 + 5)
    assert control.start("tiny-1") == 2**63 + 5
    ((_, request),) = superlink.asked
    assert request.fab.content == bundle.content()
    assert request.fab.hash_str == hashlib.sha256(request.fab.content).hexdigest() == bundle.digest()
    assert {name: value.string for name, value in request.override_config.items()} == {bundle.RUN_KEY: "tiny-1"}


def test_a_run_is_stopped_and_a_node_shut_out_by_number(superlink: SuperLink, control: Control) -> None:
    control.stop(5)
    control.unregister(6)
    (stop, stopped), (unregister, gone) = superlink.asked
    assert (stop, stopped.run_id, unregister, gone.node_id) == ("StopRun", 5, "UnregisterNode", 6)


def test_how_a_run_stands_is_what_flower_says_of_that_very_run(superlink: SuperLink, control: Control) -> None:
    runs = {
        number: Run(run_id=number, status=RunStatus(status=status, details=f"of {number}"))
        for number, status in ((5, "running"), (6, "finished"))
    }
    superlink.answers["ListRuns"] = ListRunsResponse(run_dict=runs)
    assert control.run(6) == FlowerRun("finished", "of 6")
    assert superlink.asked[-1][1].run_id == 6
    assert control.run(7) is None


def test_a_run_that_flower_does_not_know_is_none_and_any_other_error_is_not_hidden(
    superlink: SuperLink, control: Control
) -> None:
    superlink.answers["ListRuns"] = status(404)
    assert control.run(5) is None
    for error in (status(403), status(500), httpx.ConnectError("refused")):
        superlink.answers["ListRuns"] = error
        with pytest.raises(type(error)):
            control.run(5)


def test_nodes_are_known_by_their_keys_without_those_that_were_shut_out(superlink: SuperLink, control: Control) -> None:
    nodes = [
        NodeInfo(node_id=number, status=status, public_key=bytes([number]))
        for number, status in enumerate(("registered", "online", "offline", "unregistered"))
    ]
    superlink.answers["ListNodes"] = ListNodesResponse(nodes_info=nodes)
    assert {key: node.node_id for key, node in control.nodes().items()} == {b"\0": 0, b"\1": 1, b"\2": 2}


def test_a_site_is_admitted_with_its_own_key(superlink: SuperLink, control: Control) -> None:
    key, line = public_key()
    superlink.answers["RegisterNode"] = RegisterNodeResponse(node_id=9)
    assert control.register("a", line) == 9
    ((_, request),) = superlink.asked
    assert (request.name, request.public_key) == ("a", key_bytes(line))
    assert bytes_to_public_key(request.public_key) == key


@pytest.mark.parametrize("line", ["", "ssh-rsa AAAA", "ecdsa-sha2-nistp384 AAAA"])
def test_what_is_no_key_is_not_sent(control: Control, superlink: SuperLink, line: str) -> None:
    with pytest.raises(ValueError, match="not a public key"):
        control.register("a", line)
    assert superlink.asked == []


def test_who_is_done_closes_the_connection(superlink: SuperLink, control: Control) -> None:
    control.close()
    assert superlink.asked == [("close", None)]
