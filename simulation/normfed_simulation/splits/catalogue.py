"""Splits by the name that a study uses. A new one is a file and one line here."""

from __future__ import annotations

from normfed_common.foundation.registry import Registry
from normfed_common.study.validation import validate
from normfed_simulation.splits.base import Split
from normfed_simulation.splits.dirichlet import Dirichlet
from normfed_simulation.splits.iid import Iid
from normfed_simulation.splits.quantity import Quantity
from normfed_simulation.splits.scanner import Scanner

KEY = "by"
SPLITS: Registry[type[Split]] = Registry("split", "normfed.splits", subclass_of=Split)

SPLITS.add("dirichlet", Dirichlet)
SPLITS.add("iid", Iid)
SPLITS.add("quantity", Quantity)
SPLITS.add("scanner", Scanner)


def chosen(entry: dict[str, object]) -> Split:
    """The split that an entry of a study asks for.

    Raises
    ------
    StudyError, PluginError
        If there is none of that name, or a parameter of it is wrong.
    """
    kind, values = SPLITS.chosen(entry, "data.split", KEY)
    name = entry[KEY]
    return kind(validate(kind.Config, values, f"data.split {name}", f"a parameter of {name}"))
