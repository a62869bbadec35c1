"""The systemd units: little can be reached from them, and all that normfed needs can."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = ("normfed-server.service", "normfed-site.service")
HIGHEST_EXPOSURE = 2.0

# systemd.exec(5), systemd.service(5), systemd.resource-control(5), systemd.kill(5), systemd.unit(5).
KNOWN = {
    "Unit": {"Description", "After", "Wants"},
    "Install": {"WantedBy"},
    "Service": {
        *("User", "ExecStart", "Environment", "Restart", "RestartSec", "TimeoutStopSec", "LimitCORE", "UMask"),
        *("StateDirectory", "StateDirectoryMode", "ProtectSystem", "ProtectHome", "BindReadOnlyPaths", "PrivateTmp"),
        *("NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "RestrictSUIDSGID", "RestrictNamespaces"),
        *("RestrictRealtime", "LockPersonality", "MemoryDenyWriteExecute", "SystemCallArchitectures"),
        *("SystemCallFilter", "SystemCallErrorNumber", "RestrictAddressFamilies", "PrivateDevices", "DevicePolicy"),
        *("DeviceAllow", "PrivateUsers", "PrivateIPC", "PrivateMounts", "RemoveIPC", "KeyringMode", "ProtectProc"),
        *("ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables"),
        "ProtectControlGroups",
    },
}
ON = (
    *("NoNewPrivileges", "RestrictSUIDSGID", "RestrictNamespaces", "RestrictRealtime", "LockPersonality"),
    *("PrivateTmp", "PrivateDevices", "PrivateUsers", "PrivateIPC", "PrivateMounts", "RemoveIPC"),
    *("ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables"),
    "ProtectControlGroups",
)


def directives(name: str) -> list[tuple[str, str, str]]:
    """Section, key and value of every line that is no comment."""
    found, section = [], ""
    for line in (FOLDER / name).read_text().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            found.append((section, key, value))
    return found


def service(name: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for section, key, value in directives(name):
        if section == "Service":
            values.setdefault(key, []).append(value)
    return values


@pytest.mark.parametrize("name", [*UNITS, "cuda.conf"])
def test_every_directive_is_one_that_systemd_knows(name: str) -> None:
    """A misspelt one is ignored by systemd with a line in the journal: it protects nothing."""
    assert [(section, key) for section, key, _ in directives(name) if key not in KNOWN[section]] == []


@pytest.mark.parametrize("name", UNITS)
def test_nothing_is_written_but_the_state_and_nobody_else_reads_it(name: str) -> None:
    found = service(name)
    assert found["ProtectSystem"] == ["strict"]  # all is read-only ...
    assert found["StateDirectory"] == ["normfed"]  # ... but this, below /var/lib
    assert not found.keys() & {"ReadWritePaths", "BindPaths", "CacheDirectory", "LogsDirectory", "RuntimeDirectory"}
    assert found["StateDirectoryMode"] == ["0700"]
    assert found["UMask"] == ["0077"]
    assert found["LimitCORE"] == ["0"]
    assert re.search(r" --home /var/lib/normfed/\w+$", found["ExecStart"][0])


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_gives_up_what_it_does_not_need(name: str) -> None:
    found = service(name)
    assert {key: found.get(key) for key in ON} == {key: ["yes"] for key in ON}
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == [""]
    assert found["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert found["RestrictAddressFamilies"] == ["AF_INET AF_INET6 AF_UNIX"]


def test_a_sites_dataset_is_bound_read_only_and_homes_are_hidden() -> None:
    found = service("normfed-site.service")
    assert found["BindReadOnlyPaths"] == ["-/srv/bids"]
    assert found["ProtectHome"] == ["tmpfs"]  # `yes` would hide a dataset that lies in a home as well


def test_only_a_site_which_trains_may_compile() -> None:
    """Under MemoryDenyWriteExecute torch's convolutions fail ("could not create a primitive"): oneDNN compiles them."""
    assert service("normfed-site.service")["MemoryDenyWriteExecute"] == ["no"]
    assert service("normfed-server.service")["MemoryDenyWriteExecute"] == ["yes"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("dropins", [(), ("cuda.conf",)])
@pytest.mark.parametrize("name", UNITS)
def test_systemd_itself_finds_little_exposed_and_nothing_unknown(
    tmp_path: Path, name: str, dropins: tuple[str, ...]
) -> None:
    unit = tmp_path / name
    unit.write_text("\n".join((FOLDER / part).read_text() for part in (name, *dropins)))
    security = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True, text=True, timeout=300
    )
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", security.stdout)
    assert exposure is not None, security.stderr
    assert float(exposure[1]) < HIGHEST_EXPOSURE
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=300)
    assert not re.search(r"Unknown|Failed to parse|[Ii]nvalid", verified.stderr), verified.stderr
