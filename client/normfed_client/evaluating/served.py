"""The model of a finished run as one of its sites is served."""

from __future__ import annotations

from pathlib import Path

from normfed_client.hospital.personal import PersonalStore
from normfed_common.algorithms.clusters import model_number
from normfed_common.algorithms.sharing import needs_every_part
from normfed_common.algorithms.table import configure
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, SiteError
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import study_of_run

MODEL = "model.safetensors"


def served_arrays(run: Path, site: str | None) -> Arrays:
    """The federated model of a finished run as a site is served: of its cluster, with its personal parts.

    Parameters
    ----------
    site
        Whose; None for the model that all sites share.

    Raises
    ------
    RunError
        If ``run`` is no run folder or not finished, the strategy leaves no model that all share, or the site is not one
        of the run.
    """
    study = study_of_run(run)
    path = run / MODEL
    if not path.exists():
        raise RunError(f"{run}: holds no model.safetensors. Finish the run first: normfed simulate --resume {run}")
    row, _ = configure(study.strategy)
    every_part = needs_every_part(assemble(study.transforms, study.model, Setting.of(study)), study.strategy)
    arrays, header = named.read(path, foreign=True)
    clusters = header.get("clusters", {})
    sites = sorted(folder.name for folder in (run / "sites").glob("*") if folder.name != "pooled")
    if site is not None and site not in sites:
        raise RunError(f"{run}: no site is called {site}. Its sites are {', '.join(sites)}.")
    if site is None and (clusters or every_part):
        raise RunError(
            f"{run}: under {study.strategy['name']} sites have models of their own. Say whose with --site: "
            f"{', '.join(sites)}."
        )
    if clusters:
        arrays = named.unstacked(arrays)[model_number(clusters, str(site))]
    if not (row.personal or every_part) or site is None:
        return arrays
    try:
        kept = PersonalStore(run / "sites" / site / "personal" / "federated").latest()
    except SiteError as error:
        raise RunError(f"{run}: {error.detail}") from error
    if every_part and not kept:
        raise RunError(f"{run}: {site} did not train, so under {study.strategy['name']} it has no whole model.")
    return {**arrays, **kept}
