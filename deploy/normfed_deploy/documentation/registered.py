"""What a study can name: models, transforms, strategies, splits and datasets, from their registries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from normfed_common.algorithms.listing import objective
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.citations.bibliography import references
from normfed_common.foundation.registry import Registry
from normfed_common.learning.listing import Way, learnt_by
from normfed_common.models.catalogue import MODELS
from normfed_common.models.listing import TITLES as MODEL_TITLES
from normfed_common.models.listing import learnt_by as model_learnt_by
from normfed_common.scoring.catalogue import SCORERS
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.listing import TITLES as TRANSFORM_TITLES
from normfed_common.wording.keys import keys_of
from normfed_common.wording.parameters import summary
from normfed_deploy.documentation.markdown import anchored, prose, table
from normfed_deploy.documentation.study_keys import default, meaning, values
from normfed_simulation.datasets.catalogue import DATASETS, downloaded
from normfed_simulation.splits.catalogue import SPLITS

HEAD = ("parameter", "values", "default", "meaning")


def models() -> str:
    """Every model by how it learns, then the one-class scores of those that have one."""
    return "\n".join(_learners(MODELS, MODEL_TITLES, model_learnt_by))


def scores() -> str:
    """Every one-class score."""
    return "\n".join(
        part
        for name in ours(SCORERS)
        for part in (
            f"### {name} {{#fit_on-{name}}}\n",
            f"{prose(summary(SCORERS[name])).rstrip('.')}.\n",
            _parameters(SCORERS[name].Config, f"fit_on-{name}"),
        )
    )


def transforms() -> str:
    """Every transform by how it learns."""
    return "\n".join(_learners(TRANSFORMS, TRANSFORM_TITLES, learnt_by))


def strategies() -> str:
    """Every strategy: what it shares and does, parameters and source."""
    parts = []
    for name in ours(ALGORITHMS):
        row = ALGORITHMS[name]
        facts = [("shared", row.sharing), ("at the site", objective(row)), ("at the server", row.server_step)]
        parts += [f"## {name}\n", f"{row.title}.{_source(row.cited)}\n"]
        parts += [table(("", ""), facts), _parameters(row.parameters, name)]
    return "\n".join(parts)


def splits() -> str:
    """Every way to divide people anew."""
    parts = []
    for name in ours(SPLITS):
        split = SPLITS[name]
        parts += [
            f"## {name}\n",
            f"{prose(summary(split)).rstrip('.')}.{_source(split.cited)}\n",
            _parameters(split.Config, name),
        ]
    return "\n".join(parts)


def datasets() -> str:
    """Every public dataset, with its layout, licence and access; then what is made on this machine."""
    public, parts = downloaded(), []
    for name in ours(DATASETS):
        if name not in public:
            continue
        kind = public[name]
        layout = "\n".join(line.strip() for line in kind.layout.strip().splitlines())
        facts = [
            ("modalities", ", ".join(kind.modalities)),
            ("licence", prose(kind.licence)),
            ("cite", prose(kind.citation())),
            ("access", prose(kind.access)),
        ]
        parts += [f"## {name}\n", f"{prose(kind.title).rstrip('.')}.\n", f"```text\n{layout}\n```\n"]
        parts += [table(("", ""), facts), _parameters(kind.Config, name)]
    for name in ours(DATASETS):
        if name not in public:
            made = DATASETS[name]
            parts += [f"## {name}\n", f"{prose(summary(made)).rstrip('.')}. Made on this machine.\n"]
            parts += [_parameters(made.Config, name)]
    return "\n".join(parts)


def ours(registry: Registry[Any]) -> Iterator[str]:
    """What comes with normfed; plug-ins have documentation of their own."""
    return (name for name in registry if registry.origin(name) is None)


def _learners(registry: Registry[Any], titles: Mapping[Way, str], learnt: Callable[[type[Any]], Way]) -> Iterator[str]:
    found = {name: registry[name] for name in ours(registry)}
    for way, title in titles.items():
        names = [name for name, kind in found.items() if learnt(kind) == way]
        if names:
            yield f"## {title}\n"
        for name in names:
            kind = found[name]
            yield f"### {name}\n"
            yield f"{prose(summary(kind)).rstrip('.')}.{_source(kind.cited)}\n"
            yield _parameters(kind.Config, name)


def _source(cited: tuple[str, ...]) -> str:
    where = references(cited)
    return f" Source: {prose(where)}." if where else ""


def _parameters(config: type[BaseModel], owner: str) -> str:
    rows = [
        [anchored(key.path, f"{owner}.{key.path}"), values(key), default(key), meaning(key)]
        for key in keys_of(config, sections=False)
    ]
    return table(HEAD, rows) if rows else "No parameters.\n"
