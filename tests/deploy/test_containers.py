"""Images and compose files: nothing that a container does not need, and one way out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "containers"
SERVICES = [("compose.server.yaml", "server"), ("compose.site.yaml", "site"), ("compose.site.yaml", "egress")]


def compose(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return loaded


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_a_container_has_no_rights_writes_nothing_of_its_own_and_fills_no_disk(file: str, name: str) -> None:
    service = compose(file)["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"pids_limit", "mem_limit", "cpus"} <= service.keys()
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert not service.keys() & {
        "privileged",
        "cap_add",
        "devices",
        "pid",
        "ipc",
        "network_mode",
        "userns_mode",
        "build",
    }
    assert not service["image"].endswith(":latest")


def test_a_sites_data_are_read_only_and_its_state_is_all_it_writes() -> None:
    service = compose("compose.site.yaml")["services"]["site"]
    assert service["volumes"] == ["state:/var/lib/normfed", "${NORMFED_DATA:?the dataset}:/data:ro"]
    assert service["tmpfs"] == ["/tmp:size=1g,mode=1777,noexec,nosuid,nodev"]


def test_a_site_reaches_nothing_but_the_proxy_which_answers_under_the_servers_name() -> None:
    whole = compose("compose.site.yaml")
    site, egress = whole["services"]["site"], whole["services"]["egress"]
    assert site["networks"] == ["inside"]
    no_address = {"com.docker.network.bridge.inhibit_ipv4": "true"}
    assert whole["networks"]["inside"] == {"internal": True, "driver_opts": no_address}
    assert site["dns"] == ["127.0.0.1"]
    assert "ports" not in site
    assert egress["networks"]["inside"]["aliases"] == ["${NORMFED_HOST:?the server's name}"]
    backends = re.findall(r"^\s+server \w+ (.*)$", (FOLDER / "egress.cfg").read_text(), re.MULTILINE)
    assert backends == ['"${NORMFED_ADDRESS}:${NORMFED_PORT}"']


def test_only_the_federations_port_of_a_server_is_open() -> None:
    assert compose("compose.server.yaml")["services"]["server"]["ports"] == [
        "${NORMFED_LISTEN:-0.0.0.0}:${NORMFED_PORT:-8000}:${NORMFED_PORT:-8000}"
    ]


def test_images_run_as_nobody_of_the_machine_and_install_by_hash() -> None:
    stages = re.split(r"^FROM ", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    named = {match[1]: stage for stage in stages if (match := re.match(r"\S+ AS (\w+)", stage))}
    assert list(named) == ["python", "install", "normfed", "server", "site", "egress"]
    assert "USER 10001:10001" in named["normfed"]
    assert "USER 10001:10001" in named["egress"]
    assert all(re.match(r"normfed AS", named[name]) and "USER" not in named[name] for name in ("server", "site"))
    assert all("HEALTHCHECK" in named[name] for name in ("server", "site"))
    assert "sh /kit/install.sh" in named["install"]
    assert not re.search(r"\b(pip install|curl|wget|ADD http)", "".join(stages))
