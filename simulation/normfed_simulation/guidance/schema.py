"""The JSON schema of a study, for editors: with the parameters of every model, transform, strategy, dataset and split.

What depends on several keys together, and names of sites, is checked when a study is read, and not by the schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.errors import PluginError
from normfed_common.foundation.registry import Registry
from normfed_common.models.catalogue import MODELS
from normfed_common.scoring.catalogue import NAME as FIT_ON
from normfed_common.scoring.catalogue import SCORERS, USUAL
from normfed_common.studies import SECTIONS
from normfed_common.study.config import StudyConfig
from normfed_common.study.domain_shift import NONE
from normfed_common.study.modalities import AGENT, MODALITIES
from normfed_common.study.postprocessing import KEY, PostprocessingConfig
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_simulation.datasets.catalogue import DATASETS
from normfed_simulation.splits.catalogue import SPLITS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE = "normfed-study.schema.json"
Schema = dict[str, Any]

MODALITY: Schema = {"anyOf": [{"enum": list(MODALITIES)}, {"type": "string", "pattern": f"^{AGENT}$"}]}


def study_schema() -> Schema:
    """The schema; of plug-ins that cannot be imported only the names."""
    schema = StudyConfig.model_json_schema(ref_template="#/$defs/{model}")
    definitions: Schema = schema.pop("$defs")
    for kind, registry, key in (
        ("model", MODELS, "name"),
        ("transform", TRANSFORMS, "name"),
        ("strategy", ALGORITHMS, "name"),
        ("dataset", DATASETS, "name"),
        ("split", SPLITS, "by"),
        ("one-class", SCORERS, FIT_ON),
    ):
        definitions |= _definitions(kind, registry, key)
    definitions[PostprocessingConfig.__name__] = PostprocessingConfig.model_json_schema()
    _refer_to_entries(schema["properties"], definitions)
    _widen(schema["properties"], definitions)
    return {"$schema": DIALECT, **schema, "title": "A study of normfed", "$defs": definitions}


def _refer_to_entries(top: Schema, definitions: Schema) -> None:
    """Let every key that names something registered have the entries of its kind."""
    data, compared, shift = (
        definitions[name]["properties"] for name in ("DataConfig", "ComparisonConfig", "DomainShiftConfig")
    )
    for place, kind in ((top["model"], "model"), (top["strategy"], "strategy")):
        _refer(place, kind)
    for place, kind in (
        (top["transforms"], "transform"),
        (compared["strategies"], "strategy"),
        (compared["baselines"], "model"),
    ):
        place["items"] = _ref(kind)
    for kind in ("dataset", "split"):
        data[kind]["anyOf"] = [_ref(kind), {"type": "null"}]
    several = {"type": "array", "items": _ref("transform"), "maxItems": 8}
    shift["harmonizations"]["items"] = {"anyOf": [{"const": NONE}, _ref("transform"), several]}


def _widen(top: Schema, definitions: Schema) -> None:
    """Say what else may be written than the models' own schemas tell."""
    for key in ("modalities", "may_lack"):
        definitions["DataConfig"]["properties"][key]["items"] = MODALITY
    definitions["PhantomSite"]["properties"]["field_tesla"] = {"enum": [1.5, 3.0]}
    privacy = definitions["PrivacyConfig"]["properties"]
    for key in ("secure_aggregation", "central"):
        privacy[key]["anyOf"].append({"type": "boolean"})
    for key in SECTIONS:  # may be empty, when all that is in them is a comment
        top[key]["anyOf"] = [{"$ref": top[key].pop("$ref")}, {"type": "null"}]


def _refer(place: Schema, kind: str) -> None:
    """Let a property be an entry of a kind, and keep what else is said of it."""
    for key in ("type", "additionalProperties"):
        place.pop(key, None)
    place["$ref"] = f"#/$defs/{kind}"


def _ref(kind: str) -> Schema:
    return {"$ref": f"#/$defs/{kind}"}


def _definitions(kind: str, registry: Registry[Any], key: str) -> Schema:
    """An entry of a kind: a name alone where nothing is required, or a name with its own parameters."""
    entries: dict[str, Schema] = {}
    found: Schema = {}
    for name, config in _configured(registry):
        entry: Schema = {"type": "object"} if config is None else _entry(f"{kind}-{name}", config, found)
        entry["properties"] = {key: {"const": name}, **entry.get("properties", {})}
        if kind == "model":
            entry["properties"][KEY] = {"$ref": f"#/$defs/{PostprocessingConfig.__name__}"}
        named = [] if (kind, name) == ("one-class", USUAL) else [key]
        entry["required"] = [*named, *entry.get("required", ())]
        entry["title"] = name
        entries[name] = entry
    alone = [name for name, entry in entries.items() if entry["required"] == [key]]
    short = [] if kind == "one-class" else [{"enum": alone}]
    found[kind] = {"oneOf": [*short, *({"$ref": f"#/$defs/{kind}-{name}"} for name in entries)]}
    return found | {f"{kind}-{name}": entry for name, entry in entries.items()}


def _configured(registry: Registry[Any]) -> Iterator[tuple[str, type[BaseModel] | None]]:
    """Names and parameters; None of a plug-in that cannot be imported."""
    for name in registry:
        try:
            kind = registry[name]
        except PluginError:
            yield name, None
        else:
            yield name, kind.parameters if registry is ALGORITHMS else kind.Config


def _entry(prefix: str, config: type[BaseModel], definitions: Schema) -> Schema:
    """The schema of a configuration; what it refers to goes into the definitions, under names of its own."""
    schema = config.model_json_schema(ref_template=f"#/$defs/{prefix}-{{model}}")
    definitions |= {f"{prefix}-{name}": inner for name, inner in schema.pop("$defs", {}).items()}
    properties: Schema = schema.get("properties", {})
    for key, kind in (("members", "model"), ("one_class", "one-class"), ("then", "one-class")):
        if key in properties:
            _name_entries(properties[key], kind)
    return schema


def _name_entries(place: Schema, kind: str) -> None:
    """Entries of a kind where a configuration has them: by themselves, or in a list, or nothing."""
    if "items" in place:
        place["items"] = _ref(kind)
    elif "anyOf" in place:
        place["anyOf"] = [_ref(kind), {"type": "null"}]
    else:
        _refer(place, kind)
