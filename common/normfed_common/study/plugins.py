"""Plug-ins by name and version, as a hospital lets them in and as a request names them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

MOST_PLUGINS = 100


def _quoted(value: Any) -> Any:
    if isinstance(value, int | float):
        raise ValueError("a version is text: write it in quotes")
    return value


DistributionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?$")]
PluginVersion = Annotated[
    str, BeforeValidator(_quoted), StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,49}$")
]
Plugins = Annotated[dict[DistributionName, PluginVersion], Field(max_length=MOST_PLUGINS)]
