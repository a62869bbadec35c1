"""A hospital's own folder: its rules, its record of releases, and how both outlive its membership."""

from __future__ import annotations

import re
from pathlib import Path

import cohorts
import pytest
import yaml
from commands import normfed

from normfed_client.hospital.blocks import Member
from normfed_client.hospital.bookkeeping.entries import Release
from normfed_client.hospital.folder import HospitalConfig, open_hospital
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.site import Site
from normfed_client.imaging.bids import read_dataset
from normfed_client.operation import checking, joining
from normfed_common.deployment import enrolment
from normfed_common.foundation.errors import UserError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, create


@pytest.fixture
def invitation(tmp_path: Path) -> Path:
    home = create(tmp_path / "server", ServerConfig(name="F", address="fed.example.org:8000"))
    return admission.enrol(home, "north")


@pytest.fixture
def folder(tmp_path: Path, invitation: Path) -> Path:
    """A hospital that has joined, and its empty dataset."""
    (tmp_path / "data").mkdir()
    return joining.join(enrolment.load(invitation), tmp_path / "site", tmp_path / "data", ()).folder


def test_site_yaml_may_leave_out_what_has_a_default(folder: Path) -> None:
    path = folder / "site.yaml"
    whole = yaml.safe_load(path.read_text())
    needed = {name for name, field in HospitalConfig.model_fields.items() if field.is_required()}
    path.write_text(yaml.safe_dump({key: whole[key] for key in needed}))
    assert open_hospital(folder).config.model_dump(exclude={"bundles"}) == HospitalConfig(
        **{key: Path(whole[key]) if key == "data" else whole[key] for key in needed}
    ).model_dump(exclude={"bundles"})


def test_every_key_of_site_yaml_is_explained_in_it(folder: Path) -> None:
    lines = (folder / "site.yaml").read_text().splitlines()
    for name, field in HospitalConfig.model_fields.items():
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{name}:"))
        assert not field.description or lines[place - 1] == f"# {field.description}"


def test_roles_are_uniform_the_same_for_ever_and_another_hospitals_are_others() -> None:
    people = [f"sub-{number}" for number in range(2000)]
    one, other = PeopleSecret(b"one"), PeopleSecret(b"other")
    lots = [one.lot(person, "held out") for person in people]
    assert lots == [PeopleSecret(b"one").lot(person, "held out") for person in people]
    assert all(abs(sum(lot < share for lot in lots) / 2000 - share) < 0.04 for share in (0.2, 0.5, 0.8))
    for unlike in ([other.lot(p, "held out") for p in people], [one.lot(p, "test") for p in people]):
        assert abs(sum((a < 0.5) == (b < 0.5) for a, b in zip(lots, unlike, strict=True)) / 2000 - 0.5) < 0.05
    assert one.digest("sub-1") != other.digest("sub-1")


def test_releases_are_listed_for_the_hospitals_own_people(folder: Path) -> None:
    assert "Nothing was released yet" in normfed("site", "releases", "--home", folder).output
    people = [Member(f"{number:032x}", "v") for number in range(12)]
    for run in ("demo-1", "demo-2"):
        assert open_hospital(folder).config.minimum_people == 10
        assert open_hospital(folder).releases().record("learning", people, 10, "federated learning", run)
    output = normfed("site", "releases", "--home", folder).output
    assert re.search(r"12\s+learning\s+2\s+.*\n\s+demo-2, federated learning", output)
    assert "fewer than 10 people" in output
    assert "0000" not in output  # no digest of anybody


def test_what_was_released_outlives_membership(folder: Path, invitation: Path, tmp_path: Path) -> None:
    people = [Member(f"{number:032x}", "v") for number in range(12)]
    open_hospital(folder).releases().record("learning", people, 10, "sums", "r")
    secret = (folder / "people.secret").read_bytes()
    left = normfed("site", "leave", "--home", folder, "--yes")
    assert left.exit_code == 0, left.output
    assert not folder.exists()
    record = tmp_path / "site-record"
    assert str(record) in left.output.replace("\n", "")
    again = joining.join(enrolment.load(invitation), tmp_path / "again", tmp_path / "data", (), record)
    assert (again.folder / "people.secret").read_bytes() == secret
    assert [release.people for release in open_hospital(again.folder).releases().all()] == [12]
    assert not open_hospital(again.folder).releases().record("learning", people[1:], 10, "sums", "r")
    with pytest.raises(UserError, match="Give --record"):  # not by mistake without it
        joining.join(enrolment.load(invitation), tmp_path / "site", tmp_path / "data", ())
    with pytest.raises(UserError, match=r"holds no people.secret and no releases.sqlite"):
        joining.join(enrolment.load(invitation), tmp_path / "third", tmp_path / "data", (), tmp_path / "data")


def test_a_ledger_that_others_may_read_or_write_is_refused(folder: Path) -> None:
    hospital = open_hospital(folder)
    hospital.check()
    hospital.ledger().reserve(Release("k", "stays", (), "run", "federated", "train.personal"), lambda *_: "")
    hospital.check()
    hospital.ledger_file.chmod(0o622)
    with pytest.raises(UserError, match=r"ledger\.sqlite: not only its owner"):
        hospital.check()


@pytest.mark.parametrize("secret", [b"", b"another", None])
def test_a_record_is_worth_nothing_with_another_secret(folder: Path, secret: bytes | None) -> None:
    """Else everybody would be a stranger to it, and their earlier releases forgotten."""
    path = folder / "people.secret"
    path.unlink()
    if secret is not None:
        path.write_bytes(secret)
    with pytest.raises(UserError, match=r"(Restore|missing)"):
        open_hospital(folder).releases()
    with pytest.raises(UserError):
        open_hospital(folder).check()


def cohort_study(**data: object) -> StudyConfig:
    return resolve(
        {
            "name": "named",
            "data": {"modalities": ["T1w", "FLAIR"], **data},
            "preprocessing": {"voxel_size_mm": 4},
            "model": {"name": "atlas"},
            "federation": {"minimum_cohort": 2},
        },
        "test",
    )


def test_a_study_calls_a_hospital_by_its_name_whatever_its_dataset_calls_its_parts(
    folder: Path, tmp_path: Path
) -> None:
    data = cohorts.write(tmp_path / "wards", {"wardone": {"control": 4}, "wardtwo": {"control": 4}})
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"data": str(data), "minimum_people": 2}))
    assert len(read_dataset(data).sites()) == 2
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"owns": ["wardone", "wardtwo"]}))
    hospital = open_hospital(folder)
    for sites, expected in ((["north", "south"], 8), (["south"], 0), (["wardone"], 0)):
        site = Site(hospital.site_config("r"), cohort_study(sites=sites))
        assert len(site.roles.everybody()) == expected
    held_out = Site(hospital.site_config("r"), cohort_study(out_of_sample=["north"])).roles
    assert (len(held_out.train), len(held_out.held_out)) == (0, 8)


def test_whom_the_hospital_excludes_takes_part_in_nothing(folder: Path, tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "people", {"north": {"control": 6}})
    path = folder / "site.yaml"
    changes = {"data": str(data), "minimum_people": 2, "exclude": ["sub-northcontrol03"]}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    site = Site(open_hospital(folder).site_config("r"), cohort_study())
    assert len(site.roles.everybody()) == 5
    assert "sub-northcontrol03" not in {visit.name for visit in site.roles.everybody()}


def test_a_check_says_that_exclude_names_nobody_who_is_there(folder: Path, tmp_path: Path) -> None:
    """Once whoever withdrew took part on, for want of a digit, and nothing said so."""
    data = cohorts.write(tmp_path / "people", {"north": {"control": 6}})
    path = folder / "site.yaml"
    changes = {"data": str(data), "exclude": ["sub-northcontrol03", "sub-northcontrol3"]}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    found = [finding for finding in checking._data(open_hospital(folder), False) if "exclude" in finding.found]
    assert [(finding.severity, "sub-northcontrol3," in finding.found) for finding in found] == [(1, True)]
    assert "sub-northcontrol03" not in found[0].found
