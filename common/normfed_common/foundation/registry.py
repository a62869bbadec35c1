"""Named things of one kind, ours and of plug-ins: found under the name that a study uses, imported when asked for.

A plug-in is any installed distribution with an entry point in the kind's group (``normfed.models``, ...).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, EntryPoints, distribution, entry_points, version
from typing import Any, Generic, TypeVar, cast

from normfed_common.foundation.errors import PluginError, StudyError
from normfed_common.wording.spelling import meant, sentences

T = TypeVar("T")
OURS = "normfed"
JOINTS = {"-": "a hyphen", "_": "an underscore", " ": "a space"}  # of words in names

_admitted: ContextVar[Mapping[str, str] | None] = ContextVar("admitted plug-ins", default=None)
_used: ContextVar[dict[str, str] | None] = ContextVar("used plug-ins", default=None)
_tried_out: set[tuple[str, str]] = set()  # kinds and names that only this process knows
_imported_versions: dict[str, str] = {}  # of plug-ins: what this process runs, whatever is installed meanwhile


@dataclass(frozen=True)
class Plugin:
    """An installed distribution; ``distribution`` is spelled as PyPI compares names."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@contextmanager
def admitting(plugins: Mapping[str, str]) -> Iterator[None]:
    """Within: no plug-in is imported but those listed, each in exactly the version given for its distribution.

    Without it every installed plug-in is admitted, as in a simulation and at the server.
    """
    token = _admitted.set({canonical(name): version for name, version in plugins.items()})
    try:
        yield
    finally:
        _admitted.reset(token)


@contextmanager
def recorded() -> Iterator[dict[str, str]]:
    """Within: plug-ins of which anything is looked up are put into the mapping given, name to version."""
    used: dict[str, str] = {}
    token = _used.set(used)
    try:
        yield used
    finally:
        _used.reset(token)


def tried_out() -> list[str]:
    """Names of what only this process knows: no worker process could find it."""
    return sorted(name for _, name in _tried_out)


def canonical(distribution: str) -> str:
    """The name of a distribution as PyPI compares it (PEP 503): ``My_Models`` is ``my-models``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def installed(group: str) -> EntryPoints:
    """The entry points of a group on this machine, read anew when a folder on Python's path changed: what is installed
    may be newer than a hospital's process."""
    return _installed(group, tuple(_changed(place) for place in sys.path))


@lru_cache(maxsize=32)
def _installed(group: str, _places: tuple[tuple[str, int], ...]) -> EntryPoints:
    return entry_points(group=group)


def _changed(place: str) -> tuple[str, int]:
    """A place on Python's path, and when anything in it was added or taken away."""
    try:
        return place, os.stat(place or ".").st_mtime_ns
    except OSError:
        return place, 0


class Registry(Generic[T]):
    """A table from name to thing of one kind.

    Parameters
    ----------
    kind
        What one of them is called in an error: ``model``.
    group
        The entry-point group that plug-ins add to; without it there are none.
    subclass_of, instance_of
        What every entry must be, or a reference "module:attribute" to it; without either nothing is checked.
    joined_by
        What may stand between the words of a plug-in's name: a hyphen; an underscore where names become keys.
    """

    def __init__(
        self,
        kind: str,
        group: str | None = None,
        *,
        subclass_of: str | type | None = None,
        instance_of: str | type | None = None,
        joined_by: str = "-",
    ) -> None:
        self.kind = kind
        self.group = group
        self._subclass_of = subclass_of
        self._instance_of = instance_of
        self._joined_by = joined_by
        self._entries: dict[str, T | str] = {}

    def add(self, name: str, entry: T | str) -> None:
        """Register one of ours: the thing, or a reference "module:attribute" that is imported when it is asked for."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry

    def try_out(self, name: str, entry: T) -> None:
        """Have a thing under this name in this process alone, for whoever writes it; a later one takes its place.

        Raises
        ------
        PluginError
            If it is no such thing, or the name is none, or belongs to one of ours or to an installed plug-in.
        """
        here = f"The {self.kind} {name!r} cannot be tried out: "
        why = self._misnamed(name) or self._mistaken(entry)
        if why:
            raise PluginError(f"{here}{why}.")
        if name in self and (self.kind, name) not in _tried_out:
            raise PluginError(f"{here}there is one of this name already. Take another.")
        _tried_out.add((self.kind, name))
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        """The thing of that name.

        Raises
        ------
        StudyError
            If there is none.
        PluginError
            If two have the name, or it is no name, or its plug-in is not admitted, cannot be imported or is
            something else.
        """
        point = self._point(name)
        if point is not None:
            return self._load(name, point)
        entry = self._entries[name]
        return cast(T, _imported(entry) if isinstance(entry, str) else entry)

    def chosen(self, entry: Mapping[str, Any], origin: str, key: str = "name") -> tuple[T, dict[str, Any]]:
        """The thing that an entry of a study names under ``key``, and what the entry says beside.

        Raises
        ------
        StudyError
            If the entry, which is said to be in ``origin``, has no name, or one that nobody bears.
        PluginError
            As a look-up does.
        """
        name = entry.get(key)
        if not isinstance(name, str):
            raise StudyError(f"{origin}: {key} is missing. Known: {', '.join(self)}.")
        try:
            found = self[name]
        except StudyError as error:
            raise StudyError(f"{origin}: {error}") from error
        return found, {other: value for other, value in entry.items() if other != key}

    def __contains__(self, name: str) -> bool:
        return name in set(self)

    def __iter__(self) -> Iterator[str]:
        """Names of all that are admitted, in order; nothing is imported."""
        return iter(sorted({*self._entries, *(point.name for point in self._points() if _is_admitted(point))}))

    def origin(self, name: str) -> Plugin | None:
        """The plug-in that provides the thing of that name; None for one of ours. Raises as a look-up does."""
        point = self._point(name)
        return None if point is None or _is_ours(point) else plugin_of(point)

    def beginning(self, incomplete: str) -> list[str]:
        """Names that begin so, for shells."""
        return [name for name in self if name.startswith(incomplete)]

    def reference(self, name: str) -> str:
        """The reference "module:attribute" by which the thing of that name is imported. Raises as a look-up does."""
        point = self._point(name)
        entry = self._entries[name] if point is None else point.value
        return entry if isinstance(entry, str) else f"{type(entry).__module__}:{name}"

    def _points(self, name: str | None = None) -> list[EntryPoint]:
        """All, or those of a name, of distributions that are still there: a plug-in may be uninstalled while a process
        runs."""
        found = () if self.group is None else installed(self.group)
        named = [point for point in found if name in (None, point.name)]
        return [point for point in named if point.dist is None or _metadata(point.dist)]

    def _point(self, name: str) -> EntryPoint | None:
        """The entry point that provides the name; None where the table has it."""
        points = self._points(name)
        admitted = [point for point in points if _is_admitted(point)]
        if name in self._entries and not admitted:
            return None  # the usual case, without reading any distribution's metadata
        owners = [str(plugin_of(point)) for point in admitted]
        if name in self._entries:
            owners.insert(0, f"{OURS} {version(OURS)}")
        if len(owners) > 1:
            raise PluginError(
                f"The {self.kind} {name!r} is provided by {' and by '.join(owners)}, but a name has one owner. "
                "Uninstall the plug-in that should not have it."
            )
        if owners:
            return admitted[0] if admitted else None
        if points:
            raise PluginError(f"The {self.kind} {name!r}: {not_admitted(plugin_of(points[0]), _admitted.get() or {})}")
        raise StudyError(self._unknown(name))

    def _unknown(self, name: str) -> str:
        near = meant(name, list(self))
        elsewhere = "" if near or self.group is None else "If a plug-in has it: that is not installed here."
        return sentences(f"No {self.kind} is called {name!r}.", near, f"Known: {', '.join(self)}.", elsewhere)

    def _load(self, name: str, point: EntryPoint) -> T:
        if not _is_ours(point):
            if misnamed := self._misnamed(name):
                raise self._unusable(name, point, misnamed)
            self._note(name, plugin_of(point))
        try:
            found = point.load()
        except Exception as error:  # a stranger's module may raise anything
            raise self._unusable(name, point, f"{type(error).__name__}: {error}") from error
        if mistaken := self._mistaken(found):
            raise self._unusable(name, point, mistaken)
        return cast(T, found)

    def _mistaken(self, found: Any) -> str:
        """Why a thing is none of this kind; empty where it is one."""
        if self._subclass_of is not None:
            wanted = _imported(self._subclass_of)
            if not (isinstance(found, type) and issubclass(found, wanted)):
                return f"it is not a subclass of {_dotted(wanted)}"
        if self._instance_of is not None:
            wanted = _imported(self._instance_of)
            if not isinstance(found, wanted):
                return f"it is not a {_dotted(wanted)}"
        return ""

    def _misnamed(self, name: str) -> str:
        """Why a name is none for a thing that is not ours; empty where it is one."""
        if re.fullmatch(f"[a-z0-9]+([{re.escape(self._joined_by)}][a-z0-9]+)*", name):
            return ""
        words = " or ".join(JOINTS[joint] for joint in self._joined_by)
        return f"a {self.kind}'s name has lower-case letters and digits, with {words} between words"

    def _note(self, name: str, plugin: Plugin) -> None:
        first = _imported_versions.setdefault(plugin.distribution, plugin.version)
        if first != plugin.version:
            raise PluginError(
                f"The {self.kind} {name!r} belongs to the plug-in {plugin}, but this process has already "
                f"imported {first}. Restart it."
            )
        used = _used.get()
        if used is not None:
            used[plugin.distribution] = plugin.version

    def _unusable(self, name: str, point: EntryPoint, cause: str) -> PluginError:
        return PluginError(
            f"The {self.kind} {name!r} of the plug-in {plugin_of(point)} (entry point {point.name} = {point.value}) "
            f"cannot be used: {cause}. Uninstall the plug-in, or install a version that fits {OURS} {version(OURS)}."
        )


def not_admitted(plugin: Plugin, listed: Mapping[str, str]) -> str:
    """Why a hospital that lists those plug-ins does not let this one in, and what to do; names are canonical."""
    other = listed.get(plugin.distribution)
    lists = f"lists version {other}" if other else "does not list it"
    return (
        f"the plug-in {plugin} is installed here, but site.yaml {lists} under plugins, so nothing of it is imported. "
        f"To let it in, add {plugin.distribution}: '{plugin.version}'"
    )


def plugin_of(point: EntryPoint) -> Plugin:
    """The distribution that an entry point comes from."""
    if point.dist is None:  # pragma: no cover - only one that was made by hand has none
        raise ValueError(f"{point.name} = {point.value} comes from no distribution")
    name, its_version = _named(_metadata(point.dist))
    return Plugin(canonical(name), its_version)


def _metadata(installed: Distribution) -> str:
    """Its core metadata as they are on the disk now; empty where they are gone."""
    return installed.read_text("METADATA") or installed.read_text("PKG-INFO") or ""


@lru_cache(maxsize=256)
def _named(metadata: str) -> tuple[str, str]:
    """Name and version. Reading a file is cheap; parsing a long description, at every look-up, is not."""
    headers = HeaderParser().parsestr(metadata)
    return headers["Name"], headers["Version"]


@cache
def _our_points() -> frozenset[tuple[str, str, str]]:
    return frozenset((point.group, point.name, point.value) for point in distribution(OURS).entry_points)


def _is_ours(point: EntryPoint) -> bool:
    """Whether it is in our own metadata: any distribution can write our name into its own."""
    return plugin_of(point).distribution == OURS and (point.group, point.name, point.value) in _our_points()


def _is_admitted(point: EntryPoint) -> bool:
    admitted = _admitted.get()
    if admitted is None or _is_ours(point):
        return True
    plugin = plugin_of(point)
    return admitted.get(plugin.distribution) == plugin.version


def _imported(reference: Any) -> Any:
    if not isinstance(reference, str):
        return reference
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def _dotted(wanted: type) -> str:
    return f"{wanted.__module__}.{wanted.__qualname__}"
