"""Who learns, who is scored and where thresholds come from, in the benchmarks of models and of federations."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from normfed_client.hospital.site import Case
from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.cache import Entry, write_arrays
from normfed_client.imaging.cohort import assign, kind
from normfed_client.imaging.participants import Participant
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SHAPE = (6, 6, 6)


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module("folds", monkeypatch)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module("model_figures", monkeypatch)


def _module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for own in ("folds", "transfer", "model_figures", "bench_models", "bench_federation", "bench_choice"):
        monkeypatch.delitem(sys.modules, own, raising=False)
    return __import__(name)


@pytest.fixture
def arms(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module("bench_federation", monkeypatch)


def study(**data: Any) -> StudyConfig:
    raw = {"name": "s", "seed": 3, "data": {"modalities": ["FLAIR"], **data}, "model": {"name": "intensity"}}
    return resolve({**raw, "federation": {"minimum_cohort": 1}}, "test")


def visits(site: str, count: int, ill: bool) -> list[Visit]:
    return [
        Visit(
            Participant(f"sub-{site}{ill}{number}", site, "patient" if ill else "control"),
            None,
            {"FLAIR": Path("f.nii.gz")},
            None,
            (Mask(Path("m.nii.gz"), "FLAIR", "WMH"),) if ill else (),
        )
        for number in range(count)
    ]


def cases(of: StudyConfig, people: dict[str, list[Visit]]) -> dict[str, dict[str, list[Case]]]:
    roles = {site: assign(found, site, of) for site, found in people.items()}
    return {
        role: {
            site: [Case(v, Entry(Path(v.name)), kind(v, of.data)) for v in getattr(own, role)]
            for site, own in roles.items()
        }
        for role in ("train", "held_out", "test")
    }


def names(people: dict[str, list[Case]]) -> list[str]:
    return [case.visit.name for found in people.values() for case in found]


def test_without_controls_everybody_is_scored_once_by_a_model_of_the_other_training_sites(folds: ModuleType) -> None:
    of = study(normal="lesion-free-tissue", sites=["a", "b", "c"], out_of_sample=["c"])
    people = {site: visits(site, count, ill=True) for site, count in (("a", 4), ("b", 3), ("c", 1))}
    plan = folds.folds(of, cases(of, people))
    scored = Counter(name for fold in plan for name in names(fold.scored))
    assert scored == Counter(v.name for found in people.values() for v in found)
    for fold in plan:
        (site,) = fold.scored
        assert set(fold.learn) == {"a", "b"} - {site}
        assert all(len(found) == len(people[other]) for other, found in fold.learn.items())


def test_controls_are_scored_by_the_other_half_of_their_site_and_patients_by_all(folds: ModuleType) -> None:
    of = study(normal="controls", sites=["a", "b", "c"], train_sites=["a", "b"])
    people = {"a": visits("a", 5, ill=False), "b": visits("b", 4, ill=False), "c": visits("c", 3, ill=True)}
    whole, *halves = folds.folds(of, cases(of, people))
    assert sorted(names(whole.learn)) == sorted(v.name for site in "ab" for v in people[site])
    assert sorted(names(whole.scored)) == sorted(v.name for v in people["c"])
    assert sorted(names(halves[0].scored) + names(halves[1].scored)) == sorted(names(whole.learn))
    for fold in halves:
        assert not {*names(fold.learn)} & {*names(fold.scored)}
        assert {*names(fold.learn), *names(fold.scored)} == {*names(whole.learn)}
        assert set(fold.learn) == {"a", "b"}
    groups = [{*fold.group.values()} for fold in (whole, *halves)]
    assert [len(group) for group in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3


def test_a_training_site_with_patients_alone_is_not_learnt_from(folds: ModuleType) -> None:
    of = study(normal="controls", sites=["a", "b"])
    people = {"a": visits("a", 4, ill=False), "b": visits("b", 3, ill=True)}
    assert {site for fold in folds.folds(of, cases(of, people)) for site in fold.learn} == {"a"}


def scored(figures: ModuleType, tmp_path: Path, group: str, scores: np.ndarray, lesion: np.ndarray, kind: str) -> Any:
    folder = tmp_path / f"{group}{kind}"
    folder.mkdir()
    write_arrays(folder, scores[None], np.ones(SHAPE, bool), lesion, ~lesion)
    visit = Visit(Participant(folder.name, group, kind), None, {"FLAIR": Path("f.nii.gz")})
    return figures.Scored(Case(visit, Entry(folder), kind), group, group, scores, 0.0)


def test_a_threshold_is_the_quantile_of_normal_voxels_of_the_other_groups(figures: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lesion = np.zeros(SHAPE, bool)
    lesion[2, 2, 2:4] = lesion[5, 5, 5] = True
    maps = {group: rng.random(SHAPE).astype(np.float32) + 5 * lesion for group in "abc"}
    found = figures.rows([scored(figures, tmp_path, g, m, lesion, "WMH") for g, m in maps.items()], 2, 0.95)
    for row in found:
        others = np.concatenate([m[~lesion] for group, m in maps.items() if group != row["site"]])
        assert row["threshold"] == pytest.approx(np.quantile(others, 0.95))
        normal = maps[row["site"]][~lesion]
        assert row["fpr"] == pytest.approx((normal >= row["threshold"]).mean())
        assert row["auprc"] == 1
        assert row["lesions"]["< 0.1 ml"] == [2, 2]  # of 16 and 8 mm3
        assert row["lesion_ml"] == pytest.approx(0.024)


def test_where_there_are_healthy_people_thresholds_and_false_alarms_are_theirs(
    figures: ModuleType, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    none, lesion = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    lesion[0, 0, 0] = True
    healthy = {group: rng.random(SHAPE).astype(np.float32) for group in "ab"}
    people = [scored(figures, tmp_path, g, m, none, "none") for g, m in healthy.items()]
    patient = scored(figures, tmp_path, "c", rng.random(SHAPE).astype(np.float32) + 9, lesion, "WMH")
    found = figures.rows([*people, patient], 2, 0.98)
    assert found[2]["threshold"] == pytest.approx(np.quantile([*healthy["a"].flat, *healthy["b"].flat], 0.98))
    assert found[0]["threshold"] == pytest.approx(np.quantile(healthy["b"], 0.98))
    expected = [(healthy[one] >= np.quantile(healthy[other], 0.98)).mean() for one, other in ("ab", "ba")]
    assert figures.false_alarms(found) == pytest.approx(np.mean(expected))


def test_where_nobody_else_sets_a_threshold_nothing_at_one_is_known(figures: ModuleType, tmp_path: Path) -> None:
    lesion = np.zeros(SHAPE, bool)
    lesion[2, 2, 2] = True
    scores = np.random.default_rng(0).random(SHAPE).astype(np.float32) + lesion
    (alone,) = found = figures.rows([scored(figures, tmp_path, "a", scores, lesion, "WMH")], 2, 0.98)
    assert alone["auprc"] == 1
    assert np.isnan([alone["threshold"], alone["dice"], alone["fpr"]]).all()
    share, count = figures.found_of_size(found, "< 0.1 ml")
    assert np.isnan(share)
    assert count == 1


def test_the_interval_of_a_difference_is_that_of_a_mean_of_paired_differences(figures: ModuleType) -> None:
    rng = np.random.default_rng(2)
    ours, theirs = rng.random(40), rng.random(40)
    rows = [[{"name": str(i), "auprc": float(x)} for i, x in enumerate(values)] for values in (ours, theirs)]
    rows[1].reverse()  # pairs are by name
    gain, low, high = figures.difference(*rows)
    error = np.std(ours - theirs) / np.sqrt(40)
    assert gain == pytest.approx(np.mean(ours - theirs))
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def learners(plan: list[Any], arm: str) -> dict[str, list[tuple[dict[str, int], list[str]]]]:
    """By scored site, how many people of which sites every model has learnt from, and whom it scores."""
    found: dict[str, list[tuple[dict[str, int], list[str]]]] = {}
    for one in plan:
        for site, people in one.fold.scored.items():
            if one.arm == arm:
                learn = {other: len(of) for other, of in one.fold.learn.items()}
                found.setdefault(site, []).append((learn, sorted(case.visit.name for case in people)))
    return found


def test_every_arm_of_a_federation_has_its_people(arms: ModuleType) -> None:
    of = study(normal="lesion-free-tissue", sites=["a", "b", "c"], out_of_sample=["c"])
    people = {site: visits(site, count, ill=True) for site, count in (("a", 4), ("b", 3), ("c", 1))}
    plan = list(arms.trainings(of, cases(of, people)))
    whole = {site: sorted(v.name for v in found) for site, found in people.items()}
    unseen = learners(plan, "others-together")
    assert unseen == {
        "a": [({"b": 3}, whole["a"])],
        "b": [({"a": 4}, whole["b"])],
        "c": [({"a": 4, "b": 3}, whole["c"])],
    }
    alone = learners(plan, "another-alone")
    assert alone == {**unseen, "c": [({"a": 4}, whole["c"]), ({"b": 3}, whole["c"])]}
    own, together, tuned, pooled = (learners(plan, arm) for arm in ("own-alone", "together", "tuned", "pooled"))
    assert tuned == together
    for site, other in (("a", "b"), ("b", "a")):
        assert Counter(name for _, scored in own[site] for name in scored) == Counter(whole[site])
        for (mine, scored), (everybody, same), (one_place, also) in zip(
            own[site], together[site], pooled[site], strict=True
        ):
            assert scored == same == also
            assert mine == {site: len(whole[site]) - len(scored)}
            assert everybody == {**mine, other: len(whole[other])}
            assert one_place == {"pooled": sum(everybody.values())}
    assert "c" not in own
    for one in plan:
        learnt = {case.visit.name for found in one.fold.learn.values() for case in found}
        assert not learnt & {case.visit.name for found in one.fold.scored.values() for case in found}


def test_patients_of_sites_that_train_nothing_have_no_model_of_their_own(arms: ModuleType) -> None:
    of = study(normal="controls", sites=["a", "b", "c"], train_sites=["a", "b"])
    people = {"a": visits("a", 5, ill=False), "b": visits("b", 4, ill=False), "c": visits("c", 3, ill=True)}
    plan = list(arms.trainings(of, cases(of, people)))
    assert {one.arm for one in plan} == {"others-together", "another-alone"}
    assert {site for one in plan for site in one.fold.scored} == {"c"}


def test_a_person_scored_by_several_models_counts_once(arms: ModuleType) -> None:
    rows = [{"site": "a", "name": name, "auprc": value, "auroc": 0.5} for name, value in (("x", 0.2), ("y", 1.0))]
    found = arms._of_people([*rows, {**rows[0], "auprc": 0.6}])
    assert [(row["name"], row["auprc"]) for row in found] == [("x", pytest.approx(0.4)), ("y", 1.0)]


def test_a_study_on_another_grid_with_some_of_its_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    models = _module("bench_models", monkeypatch)
    of = study(normal="lesion-free-tissue", sites=["a", "b", "c"], out_of_sample=["c"])
    assert models.changed(of, None, None) == of
    fewer = models.changed(of, 1, ["a", "b"])
    assert fewer.preprocessing.voxel_size_mm == 1
    assert fewer.data.sites == ("a", "b")
    assert not fewer.data.out_of_sample


def test_constants_are_chosen_by_the_figures_of_other_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = _module("bench_choice", monkeypatch)

    def people(**values: float) -> list[dict[str, Any]]:
        return [{"site": name[0], "name": name, "auprc": value} for name, value in values.items()]

    found, chosen = choice.nested(
        {"one": people(a1=0.9, a2=0.8, b1=0.1, c1=0.3), "other": people(a1=0.2, a2=0.2, b1=0.6, c1=0.4)}
    )
    assert chosen == {"a": "other", "b": "one", "c": "one"}  # at b and c the two of a outweigh the third
    assert [row["auprc"] for row in found] == [0.2, 0.2, 0.1, 0.3]


def test_entries_are_left_out_of_studies_with_a_modality_or_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = _module("bench_models", monkeypatch)
    studies = [study(modalities=modalities) for modalities in (["T1w"], ["FLAIR"], ["T1w", "FLAIR"])]
    for said, expected in (
        ({}, [True, True, True]),
        ({"without": "FLAIR"}, [True, False, False]),
        ({"having": "FLAIR"}, [False, True, True]),
        ({"having": "T1w", "without": "FLAIR"}, [True, False, False]),
    ):
        entry = bench.Entry(label="a", model={"name": "intensity"}, **said)
        assert [bench.usable(entry, study) for study in studies] == expected
