"""Who trains, who is held out, who tests: a hospital's own lots, and a simulation's numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.site import Case
from normfed_client.imaging.bids import Mask, Problem, Visit
from normfed_client.imaging.cache import META, Entry, write_arrays
from normfed_client.imaging.cohort import (
    PreparedCohort,
    Roles,
    assign,
    has_role,
    kind,
    people_to_train_on,
    select,
)
from normfed_client.imaging.labels import NO_LESION
from normfed_client.imaging.lots import Lots
from normfed_client.imaging.participants import Participant
from normfed_common.learning.cohort import Person, Sex
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.study.roles import ROLES

PATH = Path("x.nii.gz")


SECRET = PeopleSecret(b"secret")


LOTS = Lots(SECRET.lot, held_out_share=0.3, test_share=0.4)


NORMAL = ["controls", "lesion-free-tissue", "lesion-free-slices"]


def study(**data: object) -> StudyConfig:
    return resolve({"name": "x", "seed": 4, "data": {"modalities": ["T1w"], **data}}, "test")


def visit(number: int, group: str = "control", labels: tuple[str, ...] = (), session: str | None = None) -> Visit:
    masks = tuple(Mask(PATH, "T1w", label) for label in labels)
    return Visit(Participant(f"sub-{number:03d}", "a", group), session, {"T1w": PATH}, None, masks)


def somebody(number: int) -> Visit:
    """Every other person is a patient."""
    return visit(number, "ms", ("MS",)) if number % 2 else visit(number)


def roles_of(roles: Roles) -> dict[str, str]:
    found = [(v.participant.subject, role) for role in ROLES for v in getattr(roles, role)]
    assert len(dict(found)) == len(found)  # nobody twice
    return dict(found)


people = st.sets(st.integers(0, 99), max_size=30)


@given(people, people, st.sampled_from(NORMAL), st.booleans())
def test_whoever_is_added_or_leaves_changes_no_other_persons_role_in_a_hospital(
    before: set[int], after: set[int], normal: str, trains: bool
) -> None:
    """Nor does the study's seed, its numbers, or the name that it calls the hospital by."""
    sites = ["a", "b"]
    one = study(normal=normal, sites=sites, train_sites=sites if trains else [])
    other = study(normal=normal, sites=sites, train_sites=sites if trains else [], held_out_people=7, test_share=0.9)
    first = roles_of(assign([somebody(n) for n in before], "a", one, LOTS))
    second = roles_of(assign([somebody(n) for n in after], "b", other.model_copy(update={"seed": 9}), LOTS))
    assert all(first[person] == second[person] for person in first.keys() & second.keys())


@pytest.mark.parametrize("normal", NORMAL)
@pytest.mark.parametrize("trains", [True, False])
def test_a_hospitals_people_have_the_roles_of_their_lots(normal: str, trains: bool) -> None:
    def expected(number: int) -> str | None:
        held, tests = LOTS.lot(f"sub-{number:03d}", "held out") < 0.3, LOTS.lot(f"sub-{number:03d}", "test") < 0.4
        if normal == "controls":
            return "test" if number % 2 else "held_out" if held or not trains else "train"
        if not number % 2:
            return None  # healthy people are not looked at
        return "test" if tests or not trains else "held_out" if held else "train"

    asked = study(normal=normal, sites=["a", "b"], train_sites=["a"] if trains else ["b"])
    found = roles_of(assign([somebody(number) for number in range(60)], "a", asked, LOTS))
    assert found == {f"sub-{n:03d}": role for n in range(60) if (role := expected(n)) is not None}


@pytest.mark.parametrize(("lot", "drawn"), [(0.0, True), (0.299, True), (0.3, False), (0.999, False)])
def test_a_lot_below_the_share_is_drawn(lot: float, drawn: bool) -> None:
    lots = Lots(lambda _person, _purpose: lot, held_out_share=0.3, test_share=0.3)
    assert lots.held_out([visit(1)]) is drawn
    assert lots.tests([visit(1)]) is drawn


@pytest.mark.parametrize(
    ("count", "data", "held"),
    [
        (0, {}, 0),
        (2, {}, 0),  # of two nobody is held out
        (3, {}, 1),  # of three at least one
        (12, {}, 2),
        (13, {}, 3),
        (3, {"held_out_share": 0.9}, 2),  # never everybody
        (20, {"held_out_share": 0.0}, 0),
        (20, {"held_out_people": 0}, 0),
        (20, {"held_out_people": 7, "held_out_share": 0.9}, 7),
        (4, {"held_out_people": 9}, 3),
        (0, {"held_out_people": 9}, 0),
    ],
)
def test_a_simulation_holds_out_a_share_or_a_number_of_the_healthy(
    count: int, data: dict[str, object], held: int
) -> None:
    roles = assign([visit(number) for number in range(count)], "a", study(**data))
    assert (len(roles.held_out), len(roles.train)) == (held, count - held)


@pytest.mark.parametrize(
    ("count", "share", "trains", "sizes"),
    [
        (1, 0.5, True, (0, 0, 1)),
        (10, 0.5, True, (4, 1, 5)),
        (10, 0.01, True, (7, 2, 1)),
        (10, 0.5, False, (0, 0, 10)),
    ],
)
def test_of_patients_whose_tissue_is_learnt_from_a_share_tests(
    count: int, share: float, trains: bool, sizes: tuple[int, int, int]
) -> None:
    data = {"normal": "lesion-free-tissue", "test_share": share, "out_of_sample": [] if trains else ["a"]}
    roles = assign([visit(number, "ms", ("MS",)) for number in range(count)], "a", study(**data))
    assert (len(roles.train), len(roles.held_out), len(roles.test)) == sizes


@pytest.mark.parametrize("lots", [None, LOTS])
def test_who_is_neither_healthy_nor_has_a_lesion_that_counts_has_no_role(lots: Lots | None) -> None:
    everybody = [visit(0, "volunteer"), visit(1, "ms"), visit(2, "ms", ("WMH",)), visit(3, "tumour", ("tumour",))]
    asked = study(control_groups=["volunteer"], lesion_labels=["tumour"], held_out_share=0.0)
    found = roles_of(assign(everybody, "a", asked, lots and Lots(lots.lot, 0.0, 0.5)))
    assert found == {"sub-000": "train", "sub-003": "test"}


@pytest.mark.parametrize(
    ("labels", "counted", "expected"),
    [
        (("WMH", "MS"), None, "MS+WMH"),
        (("MS", "MS"), None, "MS"),
        (("WMH", "MS"), ["WMH"], "WMH"),
        (("WMH",), ["MS"], "none"),
        ((), None, "none"),
    ],
)
def test_a_kind_of_lesion_is_the_labels_that_count(
    labels: tuple[str, ...], counted: list[str] | None, expected: str
) -> None:
    assert kind(visit(1, "ms", labels), study(lesion_labels=counted).data) == expected


def without_places(problem: Problem) -> str:
    """A reason without where the scan was expected."""
    return re.sub(r" \(expected [^)]*\)", "", problem.why)


def test_a_site_that_takes_no_part_has_no_visits_and_one_that_is_excluded_says_why() -> None:
    everybody = [visit(1), visit(2)]
    assert select(everybody, "c", study(sites=["a", "b"]).data) == ([], [])
    chosen, left_out = select(everybody, "a", study(exclude={"a": "another scanner", "sub-002": "moved"}).data)
    assert chosen == []
    assert [(problem.what, problem.why) for problem in left_out] == [
        ("sub-001", "excluded by the study: another scanner"),
        ("sub-002", "excluded by the study: moved"),
    ]
    _, left_out = select(everybody, "a", study(modalities=["FLAIR", "T1w", "T2w"]).data)
    assert {without_places(problem) for problem in left_out} == {"has no FLAIR and no T2w"}


def test_whoever_lacks_only_what_may_be_absent_is_taken() -> None:
    images = [("T1w", "FLAIR"), ("T1w",), ("FLAIR",), ("T2w",)]
    everybody = [replace(visit(i), images=dict.fromkeys(names, PATH)) for i, names in enumerate(images)]
    asked = {"modalities": ["T1w", "FLAIR"]}
    atlas = {"name": "x", "model": {"name": "atlas"}, "comparisons": {"baselines": []}}
    for may_lack, taken, reasons in (
        ([], "0", ["has no FLAIR", "has no T1w", "has no T1w and no FLAIR"]),
        (["FLAIR"], "01", ["has no T1w", "has no T1w"]),
        (["T1w"], "02", ["has no FLAIR", "has no FLAIR"]),
    ):
        data = resolve({**atlas, "data": asked | {"may_lack": may_lack}}, "test").data
        chosen, left_out = select(everybody, "a", data)
        assert [one.name for one in chosen] == [f"sub-00{number}" for number in taken]
        assert [without_places(problem) for problem in left_out] == reasons


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    rng, found = np.random.default_rng(0), []
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        mask = rng.random((3, 4, 2)) < 0.8
        write_arrays(
            folder, rng.random((1, *mask.shape)), mask, np.zeros_like(mask), mask & (rng.random(mask.shape) < 0.7)
        )
        (folder / META).write_text("{}")
        found.append(Entry(folder))
    return found


def visits(entries: list[Entry]) -> list[tuple[Visit, Entry]]:
    """Those of one person each."""
    return [(visit(i), entry) for i, entry in enumerate(entries)]


def test_tissue_of_which_nothing_may_be_told_is_normal_in_nobody(entries: list[Entry]) -> None:
    told = np.arange(24) % 3 > 0
    cohort = PreparedCohort(visits(entries), told)
    for number, entry in enumerate(entries):
        whole = entry.scan(Person(number))
        expected = [index for index in whole.normal_index.tolist() if index % 3]
        assert cohort.scan(number).normal_index.tolist() == expected
        np.testing.assert_array_equal(cohort.scan(number).images, whole.images)
        assert PreparedCohort(visits(entries)).scan(number).normal_index.tolist() == whole.normal_index.tolist()


def test_who_is_scored_is_not_mistaken_for_one_of_the_people_trained_on(entries: list[Entry]) -> None:
    cohort = PreparedCohort(visits(entries))
    numbers = [cohort.scan(number).person.index for number in range(len(entries))]
    assert numbers == list(range(len(entries)))
    scored = [Case(whose, entry, NO_LESION).scan().person.index for whose, entry in visits(entries)]
    assert not set(scored) & set(numbers)


def test_the_scans_used_last_stay_open_and_no_more_than_fit(
    entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(PreparedCohort([])) == 0
    whole = PreparedCohort(visits(entries))
    assert whole.scan(0) is whole.scan(0)
    for most_bytes, most_open in ((5 * entries[0].size, 5), (1, 4)):  # at least four, however large
        monkeypatch.setattr("normfed_client.imaging.cohort.OPEN_BYTES", most_bytes)
        cohort = PreparedCohort(visits(entries))
        first = cohort.scan(0)
        for number in range(1, most_open):
            cohort.scan(number)
        assert cohort.scan(0) is first
        for number in range(1, most_open + 1):
            cohort.scan(number)
        assert cohort.scan(0) is not first


def crowd(controls: int, patients: int, sessions: int = 1) -> list[Visit]:
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


def subjects(part: tuple[Visit, ...]) -> set[str]:
    return {visit.participant.subject for visit in part}


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 3), st.sampled_from(["controls", "lesion-free-tissue"]))
def test_nobody_has_two_roles_and_visits_stay_together(
    controls: int, patients: int, sessions: int, normal: str
) -> None:
    roles: Roles = assign(crowd(controls, patients, sessions), "a", study(normal=normal))
    train, held_out, test = subjects(roles.train), subjects(roles.held_out), subjects(roles.test)
    assert len(train) + len(held_out) + len(test) == len(train | held_out | test)
    assert len(roles.everybody()) == sessions * len(train | held_out | test)
    if normal == "controls":
        assert len(train | held_out) == controls
        assert len(test) == patients
        assert not (controls and not train)
    else:
        assert len(train | held_out | test) == patients
        assert bool(test) == bool(patients)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 20), st.integers(1, 2))
def test_a_few_people_of_a_site_are_drawn_in_the_proportions_of_healthy_and_ill(
    controls: int, patients: int, most: int, sessions: int
) -> None:
    roles = assign(crowd(controls, patients, sessions), "a", study(people_per_site=most))
    healthy, ill = len(subjects(roles.train) | subjects(roles.held_out)), len(subjects(roles.test))
    assert healthy + ill == min(most, controls + patients)
    assert len(roles.everybody()) == sessions * (healthy + ill)
    if controls + patients > most:
        assert abs(ill - most * patients / (controls + patients)) <= 1
    assert (healthy > 0, ill > 0) == (controls > 0, patients > 0)


def test_which_few_people_depends_on_the_seed_and_a_hospitals_all_count() -> None:
    everybody = crowd(20, 10)
    few = assign(everybody, "a", study(people_per_site=6))
    assert few == assign(everybody[::-1], "a", study(people_per_site=6))
    assert few != assign(
        everybody, "a", resolve({**study(people_per_site=6).model_dump(mode="json"), "seed": 5}, "test")
    )
    assert len(assign(everybody, "a", study(people_per_site=6), LOTS).everybody()) == 30


def test_of_patients_whose_tissue_is_learnt_from_the_healthy_take_no_place() -> None:
    roles = assign(crowd(20, 10), "a", study(people_per_site=6, normal="lesion-free-tissue"))
    assert len(subjects(roles.everybody())) == 6


@pytest.mark.parametrize(
    "data",
    [*({"normal": normal} for normal in NORMAL), {"test_on": "held-out"}],
    ids=lambda data: "-".join(data.values()),
)
def test_whoever_has_no_role_has_none_where_everybody_may_take_part_either(data: dict[str, str]) -> None:
    everybody, every = [*crowd(20, 10), visit(99, "stroke")], study(**data)
    expected = {found.participant.subject for found in everybody if has_role([found], every.data)}
    assert set(subjects(assign(everybody, "a", every).everybody())) == expected
    assert 0 < len(expected) < len(everybody)


def test_roles_depend_on_seed_and_site_not_on_order() -> None:
    everybody = crowd(20, 0)
    first = assign(everybody, "a", study())
    again = assign(everybody[::-1], "a", study())
    assert first == again
    assert subjects(first.held_out) != subjects(assign(everybody, "b", study()).held_out)


def test_a_site_that_only_tests_trains_nobody() -> None:
    roles = assign(crowd(6, 4), "a", study(train_sites=["b"], sites=["a", "b"]))
    assert (len(roles.train), len(roles.held_out), len(roles.test)) == (0, 6, 4)


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (5, 3)])
def test_a_number_of_held_out_people_never_takes_everybody(count: int, held: int) -> None:
    assert len(subjects(assign(crowd(count, 0), "a", study(held_out_people=3)).held_out)) == held


def test_exclusions_and_missing_modalities_are_given_with_their_reasons() -> None:
    everybody = crowd(3, 0)
    chosen, left_out = select(everybody, "a", study(exclude={"sub-001": "moved"}).data)
    assert [visit.name for visit in chosen] == ["sub-000", "sub-002"]
    assert [(p.what, p.why) for p in left_out] == [("sub-001", "excluded by the study: moved")]
    chosen, left_out = select(everybody, "a", study(modalities=["T1w", "FLAIR"]).data)
    assert chosen == []
    assert left_out[0].why == "has no FLAIR (expected sub-000/anat/sub-000_FLAIR.nii.gz)"
    assert [p.what for p in left_out] == ["sub-000", "sub-001", "sub-002"]


def test_where_nothing_is_shown_nobody_has_brain(entries: list[Entry]) -> None:
    whole = PreparedCohort(visits(entries))
    shown = np.ones(whole.scan(0).mask.size, bool)
    shown[whole.scan(0).normal_index[::2]] = False
    told = shown.copy()
    found = PreparedCohort(visits(entries), told, shown)
    for number in range(len(found)):
        one, before = found.scan(number), whole.scan(number)
        there = before.mask & shown.reshape(before.mask.shape)
        np.testing.assert_array_equal(one.mask, there)
        np.testing.assert_array_equal(one.images, before.images * there)
        assert one.images.strides == before.images.strides
        assert one.mask.ravel()[one.normal_index].all()


def test_models_are_told_the_ages_and_sexes_that_the_hospital_tells(entries: list[Entry]) -> None:
    mine = visits(entries)
    known: dict[str, tuple[float | None, Sex | None]] = {
        visit.participant.subject: (40.0 + number, "M") for number, (visit, _) in enumerate(mine)
    }
    found = PreparedCohort(mine, known=known)
    for number, (visit, _) in enumerate(mine):
        person = found.scan(number).person
        assert (person.age, person.sex) == known[visit.participant.subject]
        assert person.index == PreparedCohort(mine).scan(number).person.index


def test_whoever_learns_and_whoever_is_scored_has_a_scanner_known_at_the_site_alone(entries: list[Entry]) -> None:
    first, *others = visits(entries)
    scanned = replace(first[0], participant=replace(first[0].participant, scanner="3T"))
    mine = [(scanned, first[1]), *others]
    for known in (None, {visit.participant.subject: (None, None) for visit, _ in mine}):
        found = [PreparedCohort(mine, known=known).scan(number).person.scanner for number in range(len(mine))]
        assert found == ["a/3T", *["a"] * len(others)]
    assert Case(scanned, first[1], "none").scan().person.scanner == "a/3T"


def test_people_to_train_on_are_those_of_a_study_with_its_defaults() -> None:
    """A fifth of the healthy people is held out; without any, half of the patients trains, less a fifth of these."""
    healthy = {"a": [visit(number, session="1") for number in range(10)], "b": [visit(20), visit(21)]}
    healthy["a"] += [visit(0, session="2"), visit(30, "ms", ("MS",))]
    assert people_to_train_on(healthy) == {"a": 8, "b": 2}
    assert people_to_train_on({"a": [visit(number, "ms", ("MS",)) for number in range(20)]}) == {"a": 8}
    assert people_to_train_on({}) == {}
