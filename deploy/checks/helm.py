"""Checks the chart with Helm's own library and Kubernetes' own schemas, without a cluster.

python -m venv CHECKS && CHECKS/bin/pip install helm-python-sdk kubernetes-validate
CHECKS/bin/python deploy/checks/helm.py
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python  # type: ignore[import-not-found]
import kubernetes_validate  # type: ignore[import-not-found]
import yaml

CHART = Path(__file__).parents[1] / "helm" / "normfed-server"
VERSIONS = ("1.25", "1.28", "1.32", "1.34")
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
DIGEST = "sha256:" + "0" * 64
CASES: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "node port, a digest": {"service": {"type": "NodePort"}, "image": {"digest": DIGEST}},
    "inside, with the monitor": {"service": {"type": "ClusterIP"}, "monitor": {"open": True}},
    "outside, with the monitor": {"monitor": {"open": True}, "allowedNetworks": ["192.0.2.0/24", "2001:db8::/32"]},
    "everything else": {
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "research", "operator": "Exists"}],
        "state": {"storageClass": "fast"},
        "service": {"annotations": {"a": "b"}},
    },
}
REFUSED: dict[str, dict[str, Any]] = {
    "an unknown key": {"replicas": 3},
    "no port in the address": {"federation": {"address": "fed.example.org"}},
    "no networks": {"allowedNetworks": []},
    "a short digest": {"image": {"digest": "sha256:00"}},
    "a size without unit": {"state": {"size": "50"}},
}


def merged(changes: dict[str, Any]) -> dict[str, Any]:
    """The chart's values with changes."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def merge(into: dict[str, Any], other: dict[str, Any]) -> None:
        for key, value in other.items():
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                merge(into[key], value)
            else:
                into[key] = copy.deepcopy(value)

    merge(values, changes)
    return values


def objects(changes: dict[str, Any]) -> list[dict[str, Any]]:
    """What a cluster would be given."""
    values = merged(changes)
    chart = helm_python.Chart.load(str(CHART))
    chart.validate_schema(values)
    rendered = chart.render(values, name="brain", namespace="normfed")
    texts = [text for path, text in sorted(rendered.items()) if path.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def restricted(pod: dict[str, Any]) -> Iterator[str]:
    """What PodSecurity's level "restricted" would refuse in a pod, and a root that is written to."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    of_pod = pod.get("securityContext", {})
    if not of_pod.get("runAsNonRoot") or of_pod.get("runAsUser", 0) == 0:
        yield "runs as root"
    if of_pod.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "a token of the cluster"
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUMES:
            yield f"volume {volume['name']}"
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{container['name']}: more rights"
        if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
            yield f"{container['name']}: capabilities"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']}: writes to its root"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"{container['name']}: unbounded memory"


def main() -> int:
    """Print a line per check; 1 if something is wrong."""
    wrong = 0

    def say(well: bool, what: str) -> None:
        nonlocal wrong
        wrong += not well
        print("ok   " if well else "WRONG", what)

    report = helm_python.lint(str(CHART), merged({}), strict=True, quiet=True)
    say(not report["errors"], f"lint (Helm {helm_python.helm_sdk_version()}) {report['errors'] or ''}")
    for case, changes in CASES.items():
        found = objects(changes)
        for thing in found:
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(thing, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    say(False, f"{case}: {thing['kind']} for {version}: {error.message}")
        pods = [thing["spec"]["template"]["spec"] for thing in found if thing["kind"] == "StatefulSet"]
        loose = [text for pod in pods for text in restricted(pod)]
        say(len(pods) == 1 and not loose, f"{case}: {', '.join(thing['kind'] for thing in found)} {loose or ''}")
    for case, changes in REFUSED.items():
        try:
            objects(changes)
        except helm_python.HelmError:
            say(True, f"refused: {case}")
        else:
            say(False, f"not refused: {case}")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
