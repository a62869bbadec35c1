"""The recipes that ship, and what a recipe may not say."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import downloads
import numpy as np
import pytest

from normfed_common.algorithms.sharing import check_study
from normfed_common.foundation.errors import StudyError
from normfed_common.metrics.catalogue import METRICS
from normfed_common.study.validation import validate
from normfed_server.arms.plan import baseline_titles
from normfed_server.steps.catalogue import check_steps
from normfed_simulation.datasets.catalogue import downloaded
from normfed_simulation.reproduction.figures import DETECTED, G_MEAN, MEAN_RANK
from normfed_simulation.reproduction.look_alike.trees import TREES
from normfed_simulation.reproduction.recipe import PEOPLE, Recipe, load, merged, names

SEVEN = {
    *("wmh-pinon2023", "cc359-domain-shift", "fets2022-institutions", "ixi-hospitals", "ppmi-parkinson"),
    *("epilepsy-t1-pet", "uad-frotscher2025"),
}


def test_seven_recipes_ship() -> None:
    assert set(names()) == SEVEN


@pytest.mark.parametrize("name", sorted(SEVEN))
def test_a_recipe_names_what_there_is(name: str) -> None:
    recipe = load(name)
    for role in recipe.roles.values():
        assert set(role.datasets) <= set(downloaded())
        assert role.look_alike in TREES
    for arm in recipe.arms:
        small, whole = (recipe.study_of(name, arm, look_alike) for look_alike in (True, False))
        assert small.preprocessing.voxel_size_mm == 4 > whole.preprocessing.voxel_size_mm
        check_study(whole)  # every strategy goes with every model that it trains
        check_steps(whole)
        models = {"federated", *baseline_titles(whole)}
        assert {row.model for row in recipe.table if row.arm == arm} <= {None, *models}
    if recipe.segmentation is None:
        metrics = {metric for row in recipe.table for metric in row.figures}
        assert metrics <= {*METRICS, PEOPLE, G_MEAN, DETECTED, MEAN_RANK}
    for row in recipe.table:
        assert row.source is not None
        assert ("Compared with" in row.source) != ("Not compared with the paper" in row.source)


def test_the_published_detections_follow_from_the_ranks_of_their_patients() -> None:
    """And so no mean rank of 1.9: that of eight patients detected by 3D patches is 2.5."""
    recipe = load("epilepsy-t1-pet")
    for row in recipe.table:
        ranks = [rank for rank in recipe.published_patients[row.name].values() if rank is not None]
        assert row.figures[DETECTED].value == len(ranks)
        assert row.figures[MEAN_RANK].value == pytest.approx(np.mean(ranks), abs=1e-3)
        assert len(recipe.published_patients[row.name]) == row.figures[DETECTED].n == 12
    assert [row.figures[DETECTED].value for row in recipe.table] == [6, 7, 8]


def test_the_institutions_of_fets_have_the_sizes_of_the_official_partition() -> None:
    path = downloads.PARTITIONS / "fets2022_partitioning_1.csv"
    if not path.exists():
        pytest.skip(f"the official partition is not at {path}")
    with open(path) as file:
        sizes = Counter(f"institution-{int(row['Partition_ID']):02d}" for row in csv.DictReader(file))
    whole, *single = load("fets2022-institutions").table
    assert {row.site: row.figures[PEOPLE].value for row in single} == sizes
    assert whole.figures[PEOPLE].value == sizes.total() == 1251


def test_the_hospitals_of_ixi_have_the_sizes_of_the_published_list_of_people() -> None:
    path = downloads.PARTITIONS / "ixi_tiny_metadata.csv"
    if not path.exists():
        pytest.skip(f"the published list is not at {path}")
    with open(path) as file:
        sizes = Counter(("Guys", "HH", "IOP")[int(row["Manufacturer"])] for row in csv.DictReader(file))
    published = {row.site: row.figures[PEOPLE].value for row in load("ixi-hospitals").table if row.site is not None}
    assert published == sizes


def test_the_36_figures_of_cc359_are_those_beside_which_segmentations_stand() -> None:
    rows = load("cc359-domain-shift").table
    assert sum(len(row.figures) for row in rows) == 36
    published = {row.name: row.figures for row in rows}
    assert published["Siemens-3T"]["GE-1.5T"].value == 0.107


def test_sections_merge_and_what_has_a_name_is_replaced() -> None:
    below: dict[str, Any] = {"a": {"x": 1, "y": 2}, "model": {"name": "atlas", "score": "rms"}, "b": 1}
    above = {"a": {"y": 3}, "model": {"name": "vae"}}
    assert merged(below, above) == {"a": {"x": 1, "y": 3}, "model": {"name": "vae"}, "b": 1}
    assert below["a"] == {"x": 1, "y": 2}


ROLE = {"what": "w", "datasets": ["ixi"], "published": "p", "access": "a", "look_alike": "ixi"}
GOOD: dict[str, Any] = {
    "title": "t",
    "citation": "c",
    "roles": {"people": ROLE},
    "arms": {"one": {"needs": ["people"]}},
    "rows": [{"name": "r", "arm": "one", "source": "s", "figures": {"auroc": {"value": 0.5}}}],
    "differs": ["all"],
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": "red"}, "colour is not a key of a recipe"),
        ({"segmentation": {}}, "one of the two"),
        ({"arms": {"one": {"needs": ["ghosts"]}}}, "ghosts is no role or arm"),
        ({"rows": [{**GOOD["rows"][0], "arm": "two"}]}, "two is no role or arm"),
        ({"rows": [{**GOOD["rows"][0], "source": None}]}, "nothing says where r was published"),
        ({"rows": [{**GOOD["rows"][0], "figures": {"auroc": {"sd": 1.0}}}]}, "a value, or low and high"),
        ({"differs": []}, "differs"),
    ],
    ids=["key", "both", "role", "arm", "source", "figure", "differs"],
)
def test_what_is_no_recipe_is_said_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    validate(Recipe, GOOD, "r.yaml")
    with pytest.raises(StudyError, match=sentence):
        validate(Recipe, {**GOOD, **change}, "r.yaml", "a key of a recipe")


def test_an_unknown_recipe_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="wmh-pinon2023"):
        load("wmh-pinon2032")
    with pytest.raises(StudyError, match="Known: cc359-domain-shift, "):
        load("../demo")


@pytest.mark.parametrize(
    ("name", "compared", "of"),
    [("cc359-domain-shift", 36, 36), ("ixi-hospitals", 59, 59), ("ppmi-parkinson", 3, 6), ("wmh-pinon2023", 0, 30)],
)
def test_a_recipe_counts_the_figures_that_somebody_saw_where_they_were_published(
    name: str, compared: int, of: int
) -> None:
    recipe = load(name)
    assert recipe.compared == compared
    assert sum(len(row.figures) for row in recipe.table) == of
