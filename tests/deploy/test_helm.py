"""The chart: its values are checked, and its pod has no more rights than a container of compose.

`deploy/checks/helm.py` renders it with Helm's own library, and checks what comes out against Kubernetes' schemas.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "normfed-server"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_values_that_ship_follow_their_schema_and_every_one_is_in_it() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)
    assert VALUES.keys() == SCHEMA["properties"].keys() - {"global"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("replicas",), 3),
        (("federation", "address"), "fed.example.org"),
        (("federation", "address"), "fed.example.org:8000; id"),
        (("allowedNetworks",), []),
        (("allowedNetworks",), ["everybody"]),
        (("image", "digest"), "sha256:00"),
        (("service", "type"), "ExternalName"),
        (("resources", "limits"), {}),
    ],
)
def test_wrong_values_are_refused(path: tuple[str, ...], value: object) -> None:
    changed = copy.deepcopy(VALUES)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, SCHEMA)


@pytest.mark.parametrize(
    "line",
    [
        "replicas: 1",
        "automountServiceAccountToken: false",
        "runAsNonRoot: true",
        "runAsUser: 10001",
        "fsGroupChangePolicy: OnRootMismatch",
        "seccompProfile: {type: RuntimeDefault}",
    ],
)
def test_the_pod_keeps_what_it_promises(line: str) -> None:
    assert (CHART / "templates" / "statefulset.yaml").read_text().count(line) == 1


def test_every_container_of_the_pod_is_bounded_and_has_no_rights() -> None:
    names, pod = ((CHART / "templates" / name).read_text() for name in ("_names.tpl", "statefulset.yaml"))
    assert pod.count("        - name: ") == 3  # init, server, and the volume of temporary files
    assert pod.count('securityContext: {{- include "normfed.containerSecurity" . | nindent 12 }}') == 2
    assert pod.count("resources: {{- toYaml .Values.resources | nindent 12 }}") == 2
    for line in ("allowPrivilegeEscalation: false", "readOnlyRootFilesystem: true", "capabilities: {drop: [ALL]}"):
        assert line in names


def test_the_server_calls_nobody_and_is_called_on_its_port() -> None:
    policy = (CHART / "templates" / "networkpolicy.yaml").read_text()
    assert "policyTypes: [Ingress, Egress]" in policy
    assert policy.rstrip().endswith("egress: []")
