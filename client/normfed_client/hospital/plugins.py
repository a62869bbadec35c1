"""Which plug-ins a hospital lets in: those that its site.yaml lists, each in exactly the version listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions

from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.registry import OURS, Plugin, canonical, not_admitted

GROUPS = "normfed."  # what the names of all groups of plug-ins begin with


@dataclass(frozen=True)
class InstalledPlugin:
    """A plug-in on this machine and what it adds, such as `models: unet`; nothing of it was imported."""

    plugin: Plugin
    adds: str


def installed() -> dict[str, InstalledPlugin]:
    """All plug-ins on this machine, by the canonical names of their distributions."""
    found: dict[str, InstalledPlugin] = {}
    for distribution in distributions():
        points = sorted(
            (p.group.removeprefix(GROUPS), p.name) for p in distribution.entry_points if p.group.startswith(GROUPS)
        )
        name = canonical(distribution.name) if points else OURS
        if name != OURS and name not in found:  # the first on Python's path is what is imported
            adds = ", ".join(f"{group}: {point}" for group, point in points)
            found[name] = InstalledPlugin(Plugin(name, distribution.version), adds)
    return found


def check(listed: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Refuse a study with plug-ins that are not here, not let in, or of another version than the server's.

    Parameters
    ----------
    listed
        What site.yaml lets in.
    wanted
        What the study uses at the server.

    Raises
    ------
    SiteError
        With the code that says which; a server cannot tell what is not here from what is not let in.
    """
    if not wanted:
        return
    here, let_in = installed(), {canonical(name): version for name, version in listed.items()}
    for name, version in sorted((canonical(name), version) for name, version in wanted.items()):
        if name not in here:
            raise SiteError(
                SiteCode.PLUGIN_REFUSED,
                f"the study uses the plug-in {name} {version}, which is not installed here. To take part, install it "
                f"and write {name}: '{version}' under plugins in site.yaml",
            )
        plugin = here[name].plugin
        if let_in.get(name) != plugin.version:
            raise SiteError(SiteCode.PLUGIN_REFUSED, not_admitted(plugin, let_in))
        if version != plugin.version:
            raise SiteError(SiteCode.VERSION_DIFFERS, f"the server has {name} {version}, this site {plugin.version}")
