"""Every listing prints one JSON object of the same shape with --json, and nothing else on standard output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cohorts
import pytest
from commands import normfed

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.metrics.catalogue import BUILT_IN, METRICS
from normfed_common.models.catalogue import MODELS
from normfed_common.shipped import names, shipped_study
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_simulation.datasets.catalogue import DATASETS
from normfed_simulation.splits.catalogue import SPLITS

LISTS = {
    "models": MODELS,
    "transforms": TRANSFORMS,
    "strategies": ALGORITHMS,
    "splits": SPLITS,
    "datasets": DATASETS,
    "metrics": METRICS,
    "studies": names(),
}


def said(*words: object) -> dict[str, Any]:
    found = json.loads(normfed(*words, "--json").stdout)
    assert isinstance(found["items"], list)
    assert all(item["name"] for item in found["items"])
    return found


@pytest.mark.parametrize("what", LISTS)
def test_a_listing_has_everything_by_name(what: str) -> None:
    found = said(what)
    assert found["what"] == what
    assert sorted(item["name"] for item in found["items"]) == sorted(LISTS[what])
    one = found["items"][0]
    assert said(what, one["name"])["items"] == [one]


def test_parameters_are_told_with_type_range_and_default() -> None:
    (ditto,) = said("strategies", "ditto")["items"]
    (field,) = ALGORITHMS["ditto"].parameters.model_fields.values()
    assert ditto["parameters"] == [
        {
            "path": "lambda",
            "type": "number",
            "range": "0 to 10000",
            "default": "0.1",
            "description": field.description,
            "example": "",
        }
    ]


def test_metrics_come_in_their_order_with_range_direction_and_chance() -> None:
    found = said("metrics")["items"]
    assert [one["name"] for one in found[: len(BUILT_IN)]] == [metric.name for metric in BUILT_IN]
    assert all(one["about"] for one in found[: len(BUILT_IN)])
    by_name = {one["name"]: one for one in found}
    assert (by_name["auroc"]["chance"], by_name["auroc"]["higher_is_better"]) == (0.5, True)
    assert (by_name["cluster_rank"]["higher_is_better"], by_name["auprc"]["chance"]) == (False, None)
    shown = normfed("metrics", "surface_dice").stdout
    assert "higher" in shown
    assert "0 to 1" in shown


def test_a_study_is_printed_as_it_is_and_the_list_says_how_to_run_it() -> None:
    assert normfed("studies", "demo").stdout.rstrip() == shipped_study("demo").read_text().rstrip()
    runs = {one["name"]: one["run"] for one in said("studies")["items"]}
    assert runs["demo"] == "normfed simulate demo"
    assert runs["domain-shift"] == "normfed study domain-shift domain-shift"
    assert runs["real-flair"] == "normfed simulate real-flair --data DIR"
    with pytest.raises(StudyError, match=r"Did you mean demo\?"):
        normfed("studies", "dmo")


def test_a_dataset_is_told_site_by_site_with_what_is_wrong(tmp_path: Path) -> None:
    root = cohorts.write(tmp_path / "data", {"a": {"control": 2, "MS": 1}, "b": {"control": 1}})
    found = said("inspect", root)
    assert found["what"] == "sites"
    assert found["visits"] == 4
    first, second = found["items"]
    assert first["groups"] == {"control": 2, "MS": 1}
    assert first["modalities"] == {"T1w": 3, "FLAIR": 3}
    assert (second["name"], second["people"], second["lesion_masks"]) == ("b", 1, {})
    assert any("people to train on" in remark for remark in found["remarks"])
    assert found["problems"] == []


def test_the_cache_is_told_entry_by_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path))
    people = tmp_path / "datasets" / "phantom" / "0123"
    people.mkdir(parents=True)
    (people / "participants.tsv").write_bytes(b"x" * 77)
    (tmp_path / "somebody's").mkdir()
    (one,) = said("cache")["items"]
    assert (one["name"], one["kind"], one["bytes"]) == ("datasets/phantom/0123", "datasets", 77)
    with pytest.raises(UserError, match="say what goes"):
        normfed("cache", "prune")
    with pytest.raises(UserError, match=r"Did you mean datasets\?"):
        normfed("cache", "prune", "--kind", "dataset")
    assert "Taken away: 1 entries" in normfed("cache", "prune", "--kind", "datasets", "--yes").stdout
    assert not people.exists()
    assert (tmp_path / "somebody's").exists()
