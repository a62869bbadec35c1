"""What `normfed site check` says of a hospital's data."""

from __future__ import annotations

from pathlib import Path

import cohorts
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.operation.checking import _data, _secrets
from normfed_common.deployment.enrolment import key_fingerprint


def test_people_who_lack_a_modality_are_counted(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 3, "MS": 1}})
    hospital = Hospital(tmp_path, HospitalConfig(site="a", server="f:1", data=data, device="cpu"))

    def said() -> str:
        return next(finding.found for finding in _data(hospital, opening_scans=False) if finding.what == "data")

    assert said() == "4 people, 4 visits with FLAIR, T1w"
    cohorts.take_away(data, "FLAIR", 2)
    assert said() == "4 people, 4 visits with FLAIR, T1w; 2 without FLAIR"


def test_the_fingerprint_that_others_need_is_that_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital = Hospital(tmp_path, HospitalConfig(site="a", server="f:1", data=tmp_path, device="cpu"))
    monkeypatch.setattr(Hospital, "check", lambda _: None)
    key = ec.generate_private_key(ec.SECP384R1())
    hospital.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert _secrets(hospital).found.endswith(f"fingerprint: {key_fingerprint(line)}")
    hospital.key.write_text("nothing")
    assert _secrets(hospital).severity == 2
