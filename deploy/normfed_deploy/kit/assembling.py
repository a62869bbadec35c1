"""`normfed deploy wheelhouse`: a folder from which normfed is installed where there is no network.

KIT/
    install.sh             makes a virtual environment from what is here, and from nothing else
    requirements.txt       every wheel with its hash, as pip checks it
    wheels/                of normfed too, and of pip
    sbom.cdx.json          what is in it (CycloneDX 1.6); LICENCES.md is a table of the same
    deploy/                units, containers, proxies, alerts and guides of this version
    SHA256SUMS             of all of it; SHA256SUMS.sig where a key was given
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_text
from normfed_deploy.kit import lock, wheels
from normfed_deploy.kit.bill import bill, licences
from normfed_deploy.kit.lock import Pin
from normfed_deploy.kit.wheels import Wheel

ROOT = Path(__file__).parents[3]
SHIPPED = ("containers", "guides", "helm", "logrotate", "prometheus", "proxies", "slurm", "systemd")
SUMS = "SHA256SUMS"


def assemble(
    out: Path, python: str, cuda: bool, torch_index: str, key: Path | None, say: Callable[[str], None]
) -> None:
    """Make a kit.

    Parameters
    ----------
    python
        Such as 3.12: the wheels are for this one.
    torch_index
        Where torch without CUDA comes from.
    key
        An EC private key in PEM that signs the sums; None for no signature.

    Raises
    ------
    UserError
        If the folder is there already, this is no checkout, or something cannot be fetched or has another hash.
    """
    locked = ROOT / "deploy" / "lock" / "hashes.txt"
    if not locked.exists():
        raise UserError(f"{locked}: not there. A kit is made from a checkout of normfed, by its own environment.")
    if out.exists():
        raise UserError(f"{out}: there is something already. Choose another --out.")
    signing = _key(key) if key else None
    folder = out / "wheels"
    folder.mkdir(parents=True)
    try:
        _fill(folder, lock.for_target(lock.read(locked), python, cuda), python, cuda, torch_index, say)
        found = [Wheel(path) for path in sorted(folder.glob("*.whl"))]
        _describe(out, found, python)
        for name in SHIPPED:
            shutil.copytree(ROOT / "deploy" / name, out / "deploy" / name)
        shutil.copy(ROOT / "deploy" / "lock" / "install.sh", out / "install.sh")
        _sum(out, signing)
    except BaseException:
        shutil.rmtree(out)
        raise
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    say(f"{out}: {len(found)} wheels for Python {python}, {size / 1e6:,.0f} MB. There: sh {out.name}/install.sh FOLDER")


def _fill(folder: Path, pins: list[Pin], python: str, cuda: bool, torch_index: str, say: Callable[[str], None]) -> None:
    """Fetch wheels. Torch without CUDA is not on PyPI: its hash is the lock's where the lock has it."""
    torch = next(pin for pin in pins if pin.name == "torch")
    wheels.fetch([pin for pin in pins if cuda or pin is not torch], folder, python)
    if not cuda:
        plain = replace(torch, version=f"{torch.version}+cpu", hashes=frozenset())
        wheels.fetch([plain], folder, python, ("--index-url", torch_index))
        (file,) = folder.glob("torch-*.whl")
        known = (ROOT / "deploy" / "lock" / "torch-cpu.sha256").read_text(encoding="utf-8")
        if Wheel(file).sha256 not in known:
            say(f"{file.name}: its hash is not in deploy/lock/torch-cpu.sha256; taken as {torch_index} has it.")
    wheels.build(ROOT, folder)


def _describe(out: Path, found: list[Wheel], python: str) -> None:
    """Write what is in a kit: the requirements, the bill of materials, the licences."""
    pins = [Pin(wheel.name, wheel.version, None, frozenset({wheel.sha256})) for wheel in found]
    write_text(out / "requirements.txt", "\n".join(pin.lines() for pin in pins) + "\n")
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC).replace(microsecond=0)
    write_text(out / "sbom.cdx.json", bill(found, python, moment) + "\n")
    write_text(out / "LICENCES.md", licences(found))


def _sum(out: Path, signing: ec.EllipticCurvePrivateKey | None) -> None:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out)}\n" for path in files]
    write_text(out / SUMS, "".join(lines))
    if signing:
        signature = signing.sign((out / SUMS).read_bytes(), ec.ECDSA(hashes.SHA256()))
        (out / f"{SUMS}.sig").write_bytes(signature)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: no private key in PEM that can be read without a password ({error}).") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise UserError(f"{path}: not an EC key. Make one: openssl ecparam -name secp384r1 -genkey -noout -out {path}")
    return found
