"""The schema takes what a study may say, by another library's reading of it, and refuses what a study refuses."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import TINY

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import StudyError
from normfed_common.models.catalogue import MODELS
from normfed_common.shipped import names, shipped_study
from normfed_common.studies import load_study, resolve
from normfed_common.study.changes import changed, parsed
from normfed_common.study.reference import study_keys
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_simulation.guidance.schema import study_schema

CHECK = jsonschema.Draft202012Validator(study_schema())


def faults(study: dict[str, Any]) -> list[str]:
    return [error.message for error in CHECK.iter_errors(study)]


def test_it_is_a_schema() -> None:
    CHECK.check_schema(CHECK.schema)
    json.dumps(CHECK.schema, allow_nan=False)


@pytest.mark.parametrize("name", names())
def test_every_shipped_study_is_taken_as_written_and_as_resolved(name: str) -> None:
    assert faults(plain_yaml.read(shipped_study(name), "a study", 10**6)) == []
    assert faults(json.loads(load_study(shipped_study(name)).model_dump_json())) == []


RIGHT = [
    "model={name: ensemble, members: [atlas, {name: intensity, scale: units}]}",
    "model={name: location, one_class: {fit_on: federated}}",
    "model={name: siamese, one_class: {}, postprocessing: {smoothing_mm: 1}}",
    "transforms=[nyul, {name: z-score, robust: true}]",
    "strategy={name: ditto, lambda: 0.5}",
    "data.modalities=[T1w, ce-gadolinium_T1w]",
    "privacy={secure_aggregation: true, central: false}",
    "domain_shift.harmonizations=[none, nyul, [percentiles, {name: combat}]]",
    "federation=",
    "data.sites=",
]


@pytest.mark.parametrize("change", RIGHT)
def test_what_a_study_may_say_is_taken(change: str) -> None:
    study = changed(copy.deepcopy(TINY), parsed([change]))
    assert faults(study) == []
    resolve({key: value for key, value in study.items() if value is not None}, "x")


WRONG = [
    "federation={rouns: 3}",
    "federation.rounds=0",
    "federation.rounds=many",
    "federation.optimiser=lion",
    "model=unet",
    "model={name: siamese, scale: none}",
    "model={name: atlas, scale: huge}",
    "model={score: rms}",
    "model={name: ensemble, members: [unet]}",
    "model={name: atlas, postprocessing: {smoothing: 1}}",
    "transforms=nyul",
    "transforms=[{name: z-score, robust: perhaps}]",
    "strategy={name: ditto, mu: 1}",
    "strategy={name: prior-clusters}",
    "comparisons={baselines: [moon]}",
    "comparisons={compressions: [zip]}",
    "data.modalities=[T1]",
    "data.modalities=[]",
    "data={dataset: moon, modalities: [T1w]}",
    "data={split: moon, modalities: [T1w]}",
    "data={split: {by: dirichlet, alpha: -1}, modalities: [T1w]}",
    "data.phantom.sites.0.field_tesla=7",
    "data.phantom.sites.0.vendor=acme",
    "domain_shift.harmonizations=[moon]",
    "privacy={secure_aggregation: often}",
    "seed=-1",
    "name=a b",
]


@pytest.mark.parametrize("change", WRONG)
def test_what_a_study_may_not_say_is_refused_as_the_study_is(change: str) -> None:
    study = changed(copy.deepcopy(TINY), parsed([change]))
    assert faults(study)
    with pytest.raises(StudyError):
        _resolved(study)


def _resolved(study: dict[str, Any]) -> None:
    """With datasets and splits, whose names are looked up when they are asked for."""
    from normfed_simulation.datasets.catalogue import place_of
    from normfed_simulation.domain_shift.harmonizations import planned
    from normfed_simulation.splits.catalogue import chosen

    found = resolve(study, "x")
    place_of(found)
    planned(found)
    if found.data.split is not None:
        chosen(found.data.split)


def test_a_key_that_is_unknown_or_missing_is_refused_everywhere() -> None:
    assert faults({**TINY, "nme": 1})
    assert faults({key: value for key, value in TINY.items() if key != "name"})
    assert faults({**TINY, "data": {}})


def test_entries_of_every_registry_are_in_it_with_all_their_parameters() -> None:
    for kind, registry in (("model", MODELS), ("transform", TRANSFORMS)):
        for name in registry:
            properties = CHECK.schema["$defs"][f"{kind}-{name}"]["properties"].keys()
            assert registry[name].Config.model_fields.keys() | {"name"} <= properties
    for name in ALGORITHMS:
        assert {"const": name} == CHECK.schema["$defs"][f"strategy-{name}"]["properties"]["name"]


def test_every_key_of_a_study_has_a_meaning_a_type_and_a_default_that_can_be_written() -> None:
    keys = study_keys()
    assert {"federation.rounds", "data.phantom.sites[].controls", "privacy.central.epsilon"} <= {k.path for k in keys}
    assert [key.path for key in keys if not key.description or not key.type] == []
    assert len({key.path for key in keys}) == len(keys)
    for key in keys:
        if key.default not in ("required", "may be left out", "those of its keys"):
            yaml.safe_load(f"{key.path.rpartition('.')[2]}: {key.default}")


def test_a_small_number_is_written_so_that_yaml_takes_it_for_one() -> None:
    """YAML 1.1 takes 1e-05 for text."""
    written = {key.path: key.default for key in study_keys()}
    assert yaml.safe_load(written["privacy.delta"]) == 1e-5
    assert yaml.safe_load(written["federation.learning_rate"]) == 1e-3
