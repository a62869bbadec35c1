"""What a hospital keeps goes when its time is over, and what protects people never does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import audited
import pytest

from normfed_client.consent.approvals import Approvals
from normfed_client.consent.decisions import Decision, now
from normfed_client.consent.policy import digest_of_rules
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.imaging.cache import Cache
from normfed_client.recording.audit import Audit
from normfed_client.withdrawal.erasing import ACCOUNTS
from normfed_client.withdrawal.expiring import due, expire
from normfed_common.chain.kinds.site import Expired
from normfed_common.studies import resolve

DAY_S = 86_400
TIMES = {"keep_days": 10.0, "keep_maps_days": 20.0, "keep_runs_days": 30.0, "keep_cache_days": 40.0}


def hospital_at(folder: Path, **rules: float | None) -> Hospital:
    audited.furnish(folder)
    return Hospital(folder, HospitalConfig(site="a", server="fed.example.org:8000", data=folder, **rules))  # type: ignore[arg-type]


def old(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text("{}")
    os.utime(path, (time.time() - days * DAY_S,) * 2)
    return path


def kept(folder: Path) -> set[str]:
    tops = ("outbox", "checkpoints", "state", "cache")
    return {str(path.relative_to(folder)) for top in tops for path in (folder / top).rglob("*") if path.is_file()}


OF_RUN = {
    "outbox/{}/arm/000001-k.safetensors": "answers",
    "checkpoints/{}/k/training-1.safetensors": "checkpoints",
    "state/{}/scores/arm/sub-01.safetensors": "scores",
    "state/{}/maps/sub-01/x.nii.gz": "maps",
    "state/{}/people/arm.json": "maps",
    "state/{}/personal/arm/round-000001.safetensors": "runs",
    "state/{}/site.log": "runs",
}
ACCOUNT = (*(f"state/{{}}/{name}" for name in ACCOUNTS[:-1]), "state/{}/secure/m/s-0.json")


@pytest.mark.parametrize("days", [9.0, 11.0, 21.0, 31.0])
def test_each_thing_goes_when_its_own_time_is_over_and_accounts_stay(tmp_path: Path, days: float) -> None:
    hospital = hospital_at(tmp_path, **TIMES)
    limits = {"answers": 10, "checkpoints": 10, "scores": 10, "maps": 20, "runs": 30}
    for name in (*OF_RUN, *ACCOUNT):
        old(tmp_path / name.format("r"), days)
        old(tmp_path / name.format("young"), 1)
    expire(hospital)
    stays = {name.format("r") for name, what in OF_RUN.items() if days < limits[what]}
    assert kept(tmp_path) == stays | {n.format("r") for n in ACCOUNT} | {n.format("young") for n in (*OF_RUN, *ACCOUNT)}
    assert (tmp_path / "outbox" / "r").exists() == (days < 10)
    said = {record.content.what for record in Audit(hospital).entries() if isinstance(record.content, Expired)}
    assert said >= {what for what, limit in limits.items() if days > limit and what != "runs"}
    assert ("runs" in said) == (days > 30)
    assert due(hospital) == {}


def test_a_run_that_did_something_lately_is_not_over(tmp_path: Path) -> None:
    hospital = hospital_at(tmp_path, keep_runs_days=30.0)
    old(tmp_path / "state" / "r" / "personal" / "x", 99)
    old(tmp_path / "state" / "r" / "site.log", 29)
    assert due(hospital) == {}


def test_by_default_nothing_goes_but_answers_and_proposals_and_no_folder_is_made(tmp_path: Path) -> None:
    hospital = hospital_at(tmp_path)
    expire(hospital)
    assert not (tmp_path / "outbox").exists()
    for name in (*OF_RUN, *ACCOUNT, "cache/k/sizes.json"):
        old(tmp_path / name.format("r"), 5000)
    assert due(hospital).keys() == {"answers", "checkpoints", "scores"}


def test_prepared_scans_go_when_they_were_not_used_for_so_long(tmp_path: Path) -> None:
    hospital = hospital_at(tmp_path, keep_cache_days=40.0)
    cache = Cache(hospital.cache)
    for key in ("used", "unused"):
        cache.get_or_build(key, lambda folder: (folder / "meta.json").write_text("{}"))  # type: ignore[arg-type,return-value]
        old(hospital.cache / key / "sizes.json", 41)
    assert cache.get("used") is not None
    expire(hospital)
    assert [path.name for path in hospital.cache.iterdir()] == ["used"]


def test_a_proposal_goes_if_nobody_decided_and_may_be_asked_again(tmp_path: Path) -> None:
    hospital = hospital_at(tmp_path)
    approvals = Approvals(tmp_path)
    first, second = (
        resolve({"name": name, "data": {"modalities": ["T1w"]}, "model": "atlas"}, "test") for name in "ab"
    )
    for study in (first, second):
        assert approvals.note(study, "r") == ""
        old(tmp_path / "asked" / f"{study.digest}.yaml", 181)
    rules = digest_of_rules(hospital.config)
    approvals.decide(Decision(study=first.digest, name="a", rules=rules, verdict="refused", by="A", at=now()))
    expire(hospital)
    assert approvals.studies.digests() == [first.digest]
    assert approvals.note(second, "r") == ""


def test_on_a_full_disk_room_is_made_though_nothing_can_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = hospital_at(tmp_path)
    path = old(tmp_path / "outbox" / "r" / "x", 99)
    hospital.key.unlink()
    expire(hospital)
    assert not path.exists()
