"""What a run's figures were made of and with: software, digests, the model, the machine."""

from __future__ import annotations

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation import digests
from normfed_server.report.verdicts import title
from normfed_server.report.words import capital
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import Run

MODEL = "model.safetensors"


def provenance(run: Run, results: RunResults, device: str) -> dict[str, str]:
    """What to its value, in the order of the page.

    Parameters
    ----------
    device
        What computed; empty where only the hospitals know.
    """
    model = run.folder / MODEL
    found = {
        "run": run.folder.name,
        "model": capital(title(results)),
        "strategy": ALGORITHMS[run.study.strategy["name"]].in_print,
        "study (digest)": results.digest,
    }
    if model.exists():
        found["model (SHA-256, first half)"] = digests.of_file(model)
    found["seed"] = str(results.seed)
    found |= results.software or {"versions": "not kept by this run"}
    return found | {"device": device or "of each hospital's own"}
