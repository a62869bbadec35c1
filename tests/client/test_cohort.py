from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_client.imaging.bids import Mask, Participant, Visit
from normfed_client.imaging.cohort import Roles, assign, select
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig


def study(**data: object) -> StudyConfig:
    return resolve({"name": "x", "seed": 4, "data": {"modalities": ["T1w"], **data}}, "test")


def visits(controls: int, patients: int, sessions: int = 1) -> list[Visit]:
    path = Path("x.nii.gz")
    found = []
    for number in range(controls + patients):
        group = "control" if number < controls else "ms"
        lesions = (Mask(path, "T1w", "MS"),) if group == "ms" else ()
        person = Participant(f"sub-{number:03d}", "a", group)
        found += [
            Visit(person, str(s) if sessions > 1 else None, {"T1w": path}, None, lesions) for s in range(sessions)
        ]
    return found


def people(part: tuple[Visit, ...]) -> set[str]:
    return {visit.participant.subject for visit in part}


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 3), st.sampled_from(["controls", "lesion-free-tissue"]))
def test_nobody_has_two_roles_and_visits_stay_together(
    controls: int, patients: int, sessions: int, normal: str
) -> None:
    roles: Roles = assign(visits(controls, patients, sessions), "a", study(normal=normal))
    train, held_out, test = people(roles.train), people(roles.held_out), people(roles.test)
    assert len(train) + len(held_out) + len(test) == len(train | held_out | test)
    assert len(roles.everybody()) == sessions * len(train | held_out | test)
    if normal == "controls":
        assert len(train | held_out) == controls
        assert len(test) == patients
        assert not (controls and not train)
    else:
        assert len(train | held_out | test) == patients
        assert bool(test) == bool(patients)


def test_roles_depend_on_seed_and_site_not_on_order() -> None:
    everybody = visits(20, 0)
    first = assign(everybody, "a", study())
    again = assign(everybody[::-1], "a", study())
    assert first == again
    assert people(first.held_out) != people(assign(everybody, "b", study()).held_out)


def test_a_site_that_only_tests_trains_nobody() -> None:
    roles = assign(visits(6, 4), "a", study(train_sites=["b"], sites=["a", "b"]))
    assert (len(roles.train), len(roles.held_out), len(roles.test)) == (0, 6, 4)


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (5, 3)])
def test_a_number_of_held_out_people_never_takes_everybody(count: int, held: int) -> None:
    assert len(people(assign(visits(count, 0), "a", study(held_out_people=3)).held_out)) == held


def test_exclusions_and_missing_modalities_are_given_with_their_reasons() -> None:
    everybody = visits(3, 0)
    chosen, left_out = select(everybody, "a", study(exclude={"sub-001": "moved"}).data)
    assert [visit.name for visit in chosen] == ["sub-000", "sub-002"]
    assert [(p.what, p.why) for p in left_out] == [("sub-001", "excluded by the study: moved")]
    chosen, left_out = select(everybody, "a", study(modalities=["T1w", "FLAIR"]).data)
    assert chosen == []
    assert {p.why for p in left_out} == {"has no FLAIR"}
