"""What a study may choose among, as a person writes it in YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from normfed_common.foundation import plain_yaml
from normfed_common.models.catalogue import MODELS
from normfed_common.scoring.catalogue import SCORERS
from normfed_common.study.config import StudyConfig
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_simulation.datasets.catalogue import DATASETS
from normfed_simulation.splits.catalogue import SPLITS

REGISTRIES = (MODELS, SCORERS, TRANSFORMS, DATASETS, SPLITS)
CONFIGS = [StudyConfig, *(registry[name].Config for registry in REGISTRIES for name in registry)]


def choices(schema: Any) -> Iterator[Any]:
    if isinstance(schema, dict):
        yield from schema.get("enum", ())
        schema = list(schema.values())
    for each in schema if isinstance(schema, list) else ():
        yield from choices(each)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.__module__}.{config.__name__}")
def test_every_choice_can_be_written_without_quotes(config: type[BaseModel]) -> None:
    """YAML takes a bare `no`, `off` or `null` for something else than text."""
    found = list(choices(config.model_json_schema()))
    assert [plain_yaml.parse(str(choice), "test") for choice in found] == found
