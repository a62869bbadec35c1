"""What `normfed site check` says of a hospital's data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cohorts
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.operation.checking import _data, _privacy, _secrets, secure_sums
from normfed_client.operation.link import Finding, versions
from normfed_common.deployment.enrolment import key_fingerprint


def test_people_who_lack_a_modality_are_counted(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 3, "MS": 1}})
    hospital = cohorts.hospital(tmp_path / "a", data, 2, 2)

    def said() -> str:
        return next(finding.found for finding in _data(hospital, opening_scans=False) if finding.what == "data")

    assert said() == "4 people, 4 visits with FLAIR, T1w"
    cohorts.take_away(data, "FLAIR", 2)
    assert said() == "4 people, 4 visits with FLAIR, T1w; 2 without FLAIR"


def test_a_hospital_that_bounds_one_model_and_not_all_of_them_is_told_so(tmp_path: Path) -> None:
    def found(**rules: float | bool) -> Finding:
        config = HospitalConfig(site="a", server="f:1", data=tmp_path, **rules)
        (finding,) = _privacy(Hospital(tmp_path, config))
        return finding

    assert found().severity == 0
    unbounded = found(require_privacy=True, largest_epsilon=4.0)
    assert (unbounded.severity, unbounded.copy) == (1, "epsilon_per_year: 8")
    bounded = found(epsilon_per_year=8.0, epsilon_for_life=20.0)
    assert bounded.severity == 0
    assert bounded.found.startswith("epsilon of all studies at most 8 within 365 days, 20 for life; 0 in the latest")


def test_a_hospital_whose_own_rules_need_more_peers_than_it_lists_is_told_so(tmp_path: Path) -> None:
    def severities(**rules: Any) -> list[int]:
        config = HospitalConfig(site="a", server="f:1", data=tmp_path, **rules)
        return [finding.severity for finding in secure_sums(Hospital(tmp_path, config))]

    peers = {name: f"{number:04X} " * 8 for number, name in enumerate("bcde")}
    assert severities() == []  # it has nothing to do with secure sums
    assert severities(require_secure_aggregation=True) == [2]
    assert severities(noise_from_sites=2) == [1]
    assert severities(peers={"b": peers["b"], "c": peers["c"]}) == [1]
    assert severities(peers=peers, require_secure_aggregation=True, noise_from_sites=5) == [0]
    assert severities(peers=peers, noise_from_sites=6) == [1]


def test_a_fingerprint_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="eight groups of four digits"):
        HospitalConfig(site="a", server="f:1", data=tmp_path, peers={"b": "1F0C 9A3E"})


def test_the_fingerprint_that_others_need_is_that_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital = Hospital(tmp_path, HospitalConfig(site="a", server="f:1", data=tmp_path, device="cpu"))
    monkeypatch.setattr(Hospital, "check", lambda _: None)
    monkeypatch.setattr("normfed_client.operation.checking.check_list", lambda _: None)
    key = ec.generate_private_key(ec.SECP384R1())
    hospital.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert _secrets(hospital).found.endswith(f"fingerprint: {key_fingerprint(line)}")
    hospital.key.write_text("nothing")
    assert _secrets(hospital).severity == 2


@pytest.mark.parametrize(
    ("said", "severity", "words"),
    [
        ("1 0.1", 0, "the server has 0.1; this site's 0.1.4 works with servers up to 0.2"),
        ("1 0.0", 0, "the server has 0.0; this site's 0.1.4 works with servers up to 0.2"),
        ("1 0.2", 1, "the server has 0.2, the last that works with this site's 0.1.4"),
        ("1 0.3", 2, "this site has normfed 0.1.4, the server 0.3: "),
        ("2 0.2", 2, "the server speaks protocol 2, this site 1: nothing would be answered"),
        ("x 0.2", 1, "not said by the server"),
        ("1", 1, "not said by the server"),
        (None, 1, "not said by the server"),
    ],
)
def test_a_hospital_learns_whether_the_servers_version_works_with_its_own_and_until_when(
    said: str | None, severity: int, words: str
) -> None:
    found = versions(said, "0.1.4")
    assert (found.severity, found.found[: len(words)]) == (severity, words)
    assert bool(found.cure) == bool(severity)
