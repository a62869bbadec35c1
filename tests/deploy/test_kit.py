"""The offline kit: everything by hash, nothing that is not in the lock, and a bill of materials that is one."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from normfed_common.foundation.errors import UserError
from normfed_deploy.kit import assembling, lock
from normfed_deploy.kit.bill import bill, licences
from normfed_deploy.kit.lock import Pin
from normfed_deploy.kit.wheels import Wheel

LOCK = assembling.ROOT / "deploy" / "lock"
PINS = lock.read(LOCK / "hashes.txt")
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def wheel(folder: Path, name: str, version: str, *metadata: str) -> Wheel:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        lines = ("Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *metadata)
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(lines) + "\n\nText.\n")
        archive.writestr(f"{name}/_vendor/x-1.dist-info/METADATA", "Name: x\n")
    return Wheel(path)


def test_the_hashes_are_those_of_the_versions_that_the_tests_passed_with() -> None:
    lines = [line.split("==") for line in (LOCK / "constraints.txt").read_text().splitlines() if "==" in line]
    tested = {canonicalize_name(name): version for name, version in lines}
    other = [pin for pin in PINS if not pin.name.startswith(lock.CUDA) and pin.name != "colorama"]
    assert [pin.name for pin in other if tested.get(pin.name) != pin.version] == []


def test_the_hashes_cover_all_that_normfed_names_in_ranges_that_it_allows() -> None:
    project = tomllib.loads((assembling.ROOT / "pyproject.toml").read_text())["project"]
    pinned = {pin.name: pin.version for pin in PINS}
    for wanted in map(Requirement, project["dependencies"]):
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), wanted


@pytest.mark.parametrize("python", lock.PYTHONS)
def test_cuda_comes_on_demand_only(python: str) -> None:
    without, whole = ({pin.name for pin in lock.for_target(PINS, python, cuda)} for cuda in (False, True))
    assert {"torch", "numpy", "flwr", "pip"} <= without < whole
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in whole - without)
    assert "colorama" not in whole  # for Windows
    assert ("importlib-resources" in without) is (python == "3.11")


@pytest.mark.parametrize("line", ["numpy>=2", "numpy==2.4.6", "numpy", "-e .", "numpy @ https://example.org/n.whl"])
def test_what_is_not_pinned_with_a_hash_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "hashes.txt"
    path.write_text(f"# head\n{line}\n")
    with pytest.raises(UserError, match="has no version or no hash"):
        lock.read(path)


def test_a_pin_is_written_as_it_is_read(tmp_path: Path) -> None:
    pin = Pin("numpy", "2.4.6", None, frozenset({"aa", "bb"}))
    (tmp_path / "hashes.txt").write_text(pin.lines() + "\n")
    assert lock.read(tmp_path / "hashes.txt") == [pin]


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        (("License-Expression: MIT", "License: X"), "MIT"),
        (("License: BSD-3-Clause",), "BSD-3-Clause"),
        (("Classifier: License :: OSI Approved :: MIT License",), "MIT License"),
        (("License: " + "All the text of a licence. " * 9, "Classifier: License :: OSI Approved :: X"), "X"),
        (("License: UNKNOWN",), ""),
        ((), ""),
    ],
)
def test_a_licence_is_what_the_maker_says(tmp_path: Path, said: tuple[str, ...], licence: str) -> None:
    assert wheel(tmp_path, "a", "1", *said).licence() == licence


def test_the_bill_of_materials_names_everything_with_its_hash_and_is_the_same_for_the_same_wheels(
    tmp_path: Path,
) -> None:
    needs = ("Requires-Dist: left", "Requires-Dist: right; sys_platform == 'win32'", "License-Expression: Apache-2.0")
    found = [
        wheel(tmp_path, "left", "1.0+cpu", "License-Expression: MIT OR Apache-2.0"),
        wheel(tmp_path, "normfed", "0.1.0", *needs),
        wheel(tmp_path, "right", "2"),
    ]
    text = bill(found, "3.12", MOMENT)  # fails where the schema is not followed
    said = json.loads(text)
    assert said["specVersion"] == "1.6"
    assert said["metadata"]["component"]["name"] == "normfed"
    assert [(c["name"], c["version"], c["hashes"][0]["content"]) for c in said["components"]] == [
        ("left", "1.0+cpu", hashlib.sha256(found[0].path.read_bytes()).hexdigest()),
        ("right", "2", hashlib.sha256(found[2].path.read_bytes()).hexdigest()),
    ]
    assert [d["dependsOn"] for d in said["dependencies"] if d["ref"] == "normfed==0.1.0"] == [["left==1.0+cpu"]]
    assert bill(found, "3.12", MOMENT) == text
    assert "| right | 2 | not said by its maker |" in licences(found)


def test_the_sums_are_those_of_sha256sum_and_openssl_finds_the_signature_good(tmp_path: Path) -> None:
    kit, key = tmp_path / "kit", ec.generate_private_key(ec.SECP384R1())
    (kit / "wheels").mkdir(parents=True)
    (kit / "wheels" / "a.whl").write_bytes(b"a")
    (kit / "install.sh").write_text("true\n")
    assembling._sum(kit, key)
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=kit, timeout=60).returncode == 0
    signature, sums = (kit / "SHA256SUMS.sig").read_bytes(), kit / "SHA256SUMS"
    key.public_key().verify(signature, sums.read_bytes(), ec.ECDSA(hashes.SHA256()))
    (kit / "wheels" / "a.whl").write_bytes(b"b")
    assert subprocess.run(check, cwd=kit, capture_output=True, timeout=60).returncode == 1


def test_a_key_that_cannot_sign_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("no key")
    with pytest.raises(UserError, match="no private key in PEM"):
        assembling._key(path)
    key = ec.generate_private_key(ec.SECP256R1())
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*formats))
    assert assembling._key(path).private_numbers() == key.private_numbers()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="there is something already"):
        assembling.assemble(tmp_path, "3.12", False, "", None, print)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_everything_that_is_shipped_is_there() -> None:
    assert [name for name in assembling.SHIPPED if not (assembling.ROOT / "deploy" / name).is_dir()] == []


def test_the_installer_asks_no_network_and_no_setting_of_the_machine() -> None:
    text = (LOCK / "install.sh").read_text()
    assert re.search(r"--isolated install .*--no-index.*--require-hashes", text.replace("\\\n", ""))
