"""What a simulation adds to a run folder: the sites on this machine, and their anomaly maps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.rules import CustodyConfig
from normfed_client.hospital.simulated import write_sites
from normfed_client.training.made_before import FOLDER
from normfed_common.algorithms.arms import POOLED
from normfed_server.runs.folder import Run

CONDITIONS = "conditions.json"  # what the simulation does to the federation beside the study


@contextmanager
def discarded_if_refused(run: Run) -> Iterator[None]:
    """Within: a run that fails, is refused or stopped before a model was trained for a round leaves no folder."""
    with discarded_unless(run.folder, lambda: run.begun):
        yield


@contextmanager
def discarded_unless(folder: Path, begun: Callable[[], bool]) -> Iterator[None]:
    """Within: whatever goes wrong before anything ``begun`` leaves no folder, unless the error sends people there."""
    try:
        yield
    except BaseException as error:
        if not begun() and str(folder) not in str(error):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def write_site_configs(
    run: Run, data: Path, names: list[str], cache: Path, device: str, custody: Mapping[str, CustodyConfig]
) -> list[SiteConfig]:
    """One configuration per hospital; and, where the study compares with pooled training, one that owns all scans."""
    owners: dict[str, tuple[str, ...]] = {name: (name,) for name in names}
    if run.study.comparisons.pooled:
        owners[POOLED] = tuple(names)
    sites = tuple(
        SiteConfig(
            name=name,
            data=data.resolve(),
            owns=owned,
            cache=cache.resolve(),
            output=(run.folder / "sites" / name).resolve(),
            device=device,
            custody=custody.get(name),
        )
        for name, owned in owners.items()
    )
    write_sites(run.sites_file, sites)
    return list(sites)


def link_maps(run: Run) -> int:
    """Gather the sites' anomaly maps under maps/ (hard links, else copies); returns how many."""
    target = run.folder / "maps"
    target.mkdir(exist_ok=True)
    count = 0
    for source in sorted(run.folder.glob("sites/*/maps/*.nii.gz")):
        link = target / source.name
        if not link.exists():
            try:
                os.link(source, link)
            except OSError:  # a file system without hard links
                link.write_bytes(source.read_bytes())
        count += 1
    return count


def forget_sums(run: Run) -> None:
    """Remove the sums that the sites kept for models that were still to be trained."""
    for folder in run.folder.glob(f"sites/*/{FOLDER}"):
        shutil.rmtree(folder, ignore_errors=True)
