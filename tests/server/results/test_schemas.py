"""The schemas that ship are those of the models, and believe what runs write."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from audits import audited, finding
from run_results import run_results

from normfed_server.events.kinds import Joined, RoundDone
from normfed_server.results.schemas import PACKAGE, schemas

ENTRY = {"round": 1, "loss": {"a": None}, "seconds": 1.0, "outcomes": {}, "megabytes": {"out": 0.5, "back": 0.5}}


@pytest.mark.parametrize("path", list(schemas()), ids=lambda path: path.name)
def test_a_shipped_schema_is_that_of_the_models(path: Any) -> None:
    assert json.loads(path.read_text()) == schemas()[path], f"{path.name} is not of these models; run: make schemas"


def shipped(name: str) -> Any:
    schema = json.loads((PACKAGE / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_another_validator_believes_what_is_written_and_nothing_else() -> None:
    results = json.loads(run_results([{}], lowest_score=0.0).model_dump_json())
    assert shipped("results/metrics.schema.json").is_valid(results)
    assert not shipped("results/metrics.schema.json").is_valid({**results, "more": 1})
    audit = json.loads(audited(finding(), finding(figure=None, notes=("not made",))).model_dump_json())
    assert shipped("results/privacy-audit.schema.json").is_valid(audit)
    assert not shipped("results/privacy-audit.schema.json").is_valid({**audit, "seconds": "one"})
    lines = [Joined(arm="federated", site="a", round=2).line(), RoundDone.of("federated", 3, ENTRY).line()]
    for line in lines:
        assert shipped("events/events.schema.json").is_valid(json.loads(line))
        assert not shipped("events/events.schema.json").is_valid({**json.loads(line), "round": "one"})
