"""Healthy people's scans of a run as its federated model sees them, after whatever its transforms have learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Case, Site
from normfed_common.algorithms.arms import POOLED
from normfed_common.learning.cohort import Scan
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.transformed import transformed
from normfed_server.runs.folder import Run
from normfed_simulation.domain_shift.features import FeatureExtractor, ScanFeatures, common
from normfed_simulation.domain_shift.layout import Scanners, Told
from normfed_simulation.domain_shift.probes import age_fits, age_slopes, told_by_features, told_by_images, usable
from normfed_simulation.remade import served

PATIENTS = "Where scans are looked at, people are patients, lesions and all: the study has no healthy people"


def healthy(run: Run) -> list[tuple[Site, list[Case]]]:
    """The last visit of everybody who counts as normal, in training or held out, by site."""
    found = []
    for config in read_sites(run.sites_file):
        if config.name != POOLED:
            site = Site(config, run.study)
            last = {case.visit.participant.subject: case for case in (*site.train, *site.held_out)}
            found.append((site, list(last.values())))
    return found


def scanners(
    run: Run, people: Iterable[tuple[Site, list[Case]]], told: Callable[[str], None] = lambda _name: None
) -> Scanners:
    """What scans tell of their scanner and of their person's age.

    Parameters
    ----------
    people
        See `healthy`.
    told
        Called with the name of every scan that has been looked at.
    """
    extracted: list[ScanFeatures] = []
    whose: list[Scan] = []
    remarks = [PATIENTS] if run.study.data.normal != "controls" else []
    extractor = None
    for site, cases in people:
        transforms = _transforms(run, site)
        for case in cases:
            scan = transformed(case.scan(), transforms)
            if extractor is None:
                reach = transforms[-1].value_range if transforms else site.setting.value_range
                extractor = FeatureExtractor(
                    site.setting.anatomy.tissues(), run.study.preprocessing.voxel_size_mm, reach
                )
            if scan.present.all():
                extracted.append(extractor.extract(scan))
                whose.append(scan)
            else:
                remarks.append(f"{case.visit.name} is left out: not every modality is there")
            told(case.visit.name)
    if extractor is None or not extracted:
        return _nobody(tuple(remarks))
    return _of_people(run.study.seed, extractor, extracted, whose, remarks)


def _of_people(
    seed: int, extractor: FeatureExtractor, extracted: list[ScanFeatures], whose: list[Scan], remarks: list[str]
) -> Scanners:
    features = common([one.features for one in extracted])
    names, ages = [scan.person.scanner for scan in whose], [scan.person.age for scan in whose]
    kept, why = usable(names)
    if kept.any():
        images = common([one.image for one in extracted])[kept]
        of = [name for name, keep in zip(names, kept, strict=True) if keep]
        found = (told_by_features(features[kept], of, seed), told_by_images(images, of, seed))
        remarks = [*remarks, f"Scanners {why}"] if why else remarks
    else:
        found = (Told(what="features", why=why), Told(what="images", why=why))
    slopes, no_slopes = age_slopes(extractor.volumes_ml(extracted), ages, names)
    if no_slopes:
        remarks = [*remarks, no_slopes]
    return Scanners(told=found, ages=age_fits(features, ages, names, seed), slopes=slopes, remarks=tuple(remarks))


def _nobody(remarks: tuple[str, ...]) -> Scanners:
    why = "nobody counts as normal"
    return Scanners(
        told=(Told(what="features", why=why), Told(what="images", why=why)), ages=(), slopes=(), remarks=remarks
    )


def _transforms(run: Run, site: Site) -> tuple[ScanTransform, ...]:
    """The run's transforms as they are at a site, with what stays there."""
    if not run.study.transforms:
        return ()
    model = served(run, site).model
    assert isinstance(model, Pipeline)
    return model.transforms
