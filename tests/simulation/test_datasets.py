"""Datasets that a simulation makes by name: the phantom, and whatever a plug-in adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import normfed, run_folder
from plugins import Plugins

from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_simulation.datasets import Phantom, place_of
from normfed_simulation.phantom import hospitals as phantom

CODE = """
import cohorts
from pydantic import Field
from normfed_common.study.base import Frozen
from normfed_simulation.datasets import Dataset

class Parameters(Frozen):
    people: int = Field(ge=1)

class Wards(Dataset):
    Config = Parameters
    what = "Wards"

    def parts(self):
        return 1

    def write(self, root, workers, told):
        cohorts.write(root, {name: {"control": self.config.people, "WMH": 2} for name in ("a", "b")}, self.seed)
        told("all")
"""


@pytest.fixture
def wards(plugins: Plugins) -> Plugins:
    plugins.install("ward-scans", "2", {"normfed.datasets": {"wards": "ward_scans:Wards"}}, CODE)
    return plugins


def study_of(dataset: object, **changes: Any) -> StudyConfig:
    data = {"modalities": ["T1w", "FLAIR"], "dataset": dataset}
    return resolve({"name": "made", "data": data, "model": {"name": "intensity"}, **changes}, "test")


def test_phantom_hospitals_are_the_dataset_of_that_name_in_the_place_that_they_had(study: StudyConfig) -> None:
    found = place_of(study)
    assert found is not None
    dataset, place = found
    assert isinstance(dataset, Phantom)
    assert study.data.phantom is not None
    assert place.name == phantom.digest(study.data.phantom, study.seed)
    assert dataset.parts() == len(phantom.people(study.data.phantom))
    long = {"name": "phantom", **study.data.phantom.model_dump(mode="json")}
    same = study.model_copy(update={"data": study.data.model_copy(update={"phantom": None, "dataset": long})})
    assert place_of(same) is not None
    assert place_of(same)[1] == place  # type: ignore[index]


def test_a_simulation_makes_a_plug_ins_dataset_once_and_uses_it(
    wards: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    study = study_of({"name": "wards", "people": 4}, preprocessing={"voxel_size_mm": 4})
    raw = study.model_dump(mode="json")
    raw["federation"]["minimum_cohort"], raw["comparisons"] = 2, {"local": False, "pooled": False, "baselines": []}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))
    made = []
    for out in ("first", "second"):
        result = normfed("simulate", tmp_path / "study.yaml", "--out", tmp_path / out, "-q", "--workers", 0)
        assert result.exit_code == 0, result.output
        (folder,) = (tmp_path / "cache" / "datasets" / "wards").iterdir()
        made.append((folder / "dataset_description.json").stat().st_mtime_ns)
        assert {path.name for path in (run_folder(tmp_path / out) / "sites").iterdir()} == {"a", "b"}
    assert made[0] == made[1]


def test_what_is_made_has_a_place_by_name_parameters_and_seed(wards: Plugins) -> None:
    studies = [study_of({"name": "wards", "people": n}, seed=seed) for n in (4, 5) for seed in (0, 1)]
    places = {place_of(study)[1] for study in [*studies, *studies]}  # type: ignore[index]
    assert len(places) == 4
    assert place_of(study_of(None)) is None


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ("moon", "No dataset is called 'moon'. Known: abide, "),
        ({"people": 3}, "data.dataset: name is missing. Known: abide, "),
        ("wards", "data.dataset wards: people is missing."),
        ({"name": "wards", "people": 0}, "data.dataset wards: people: input should be greater than or equal to 1"),
        (
            {"name": "wards", "people": 3, "beds": 1},
            "data.dataset wards: beds is not a parameter of wards (known: people).",
        ),
    ],
    ids=["unknown", "nameless", "missing", "wrong", "key"],
)
def test_a_wrong_entry_is_one_sentence(wards: Plugins, dataset: object, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        place_of(study_of(dataset))
    assert sentence in str(caught.value)


def test_a_study_has_one_source_of_scans(study: StudyConfig) -> None:
    raw = study.model_dump(mode="json")
    raw["data"]["dataset"] = "phantom"
    with pytest.raises(StudyError, match="phantom and dataset exclude each other"):
        resolve(raw, "test")
