"""normfed in Python: run studies, open what they found, score new scans.

::

    import normfed

    run = normfed.simulate("demo", **{"federation.rounds": 5})
    run.patients    # a pandas data frame: one row a patient, model and metric
    run.map("sub-03011")    # a NIfTI image

Nothing is imported until it is used. These are the functions that the command `normfed` calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normfed_common.foundation.errors import NormfedError as NormfedError
    from normfed_common.foundation.errors import UserError as UserError
    from normfed_simulation.api.calls import compare as compare
    from normfed_simulation.api.calls import open_run as open_run
    from normfed_simulation.api.calls import resume as resume
    from normfed_simulation.api.calls import simulate as simulate
    from normfed_simulation.api.examples import example_data as example_data
    from normfed_simulation.api.inspecting import inspect as inspect
    from normfed_simulation.api.opened import OpenRun as OpenRun
    from normfed_simulation.api.scoring import score as score
    from normfed_simulation.api.trying import try_model as try_model

    __version__: str

_WHERE = {
    "NormfedError": "normfed_common.foundation.errors",
    "OpenRun": "normfed_simulation.api.opened",
    "UserError": "normfed_common.foundation.errors",
    "compare": "normfed_simulation.api.calls",
    "example_data": "normfed_simulation.api.examples",
    "inspect": "normfed_simulation.api.inspecting",
    "open_run": "normfed_simulation.api.calls",
    "resume": "normfed_simulation.api.calls",
    "score": "normfed_simulation.api.scoring",
    "simulate": "normfed_simulation.api.calls",
    "try_model": "normfed_simulation.api.trying",
}
__all__ = [*_WHERE, "__version__"]  # of names alone


def __getattr__(name: str) -> Any:
    import importlib

    if name == "__version__":
        from importlib.metadata import version

        return version("normfed")
    if name not in _WHERE:
        raise AttributeError(f"module 'normfed' has no attribute {name!r}")
    import os

    from normfed_common.foundation.quiet import QUIET_FLOWER

    os.environ.update(QUIET_FLOWER)  # before Flower is imported
    found = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
