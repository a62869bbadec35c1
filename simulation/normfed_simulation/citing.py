"""Whom a paper about a run cites: for every part of its study, and for the software."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.citations.bibliography import ELEMENTARY, OURS, bibtex, key_of
from normfed_common.metrics.catalogue import chosen
from normfed_common.models.catalogue import MODELS
from normfed_common.scoring.catalogue import NAME, SCORERS, USUAL
from normfed_common.study.config import StudyConfig
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_simulation.datasets.catalogue import DATASETS
from normfed_simulation.splits.catalogue import SPLITS

SOFTWARE = (OURS, "flower", "pytorch", "monai", "scikit-learn", "nilearn", "simpleitk")
PREPROCESSING = {False: ("mni152",), True: ("mni152", "n4")}  # by whether bias fields are corrected
TESTS = ("wilcoxon1945", "holm1979")  # of models against each other, paired by patient
STATISTICS = {True: ("efron1993",), False: ("welch1947",)}  # of intervals, by whether people are resampled

Cited = dict[str, tuple[str, ...]]  # what it is for to what it names as `cited`


def of_software() -> Cited:
    """Of every run."""
    return {"the software": SOFTWARE}


def of_study(study: StudyConfig, *, resampled: bool = True, tested: bool = False) -> Cited:
    """Of a study's every part.

    Parameters
    ----------
    resampled
        Whether intervals are of resampled people, as in a simulation, or of moments.
    tested
        Whether models were tested against each other, as in a simulation with patients enough.
    """
    found: Cited = {**of_software(), "preprocessing": PREPROCESSING[study.preprocessing.bias_correction]}
    for entry in (study.model, *study.comparisons.baselines):
        found |= dict(_of_model(entry))
    strategies = (study.strategy, *study.comparisons.strategies)
    found |= {f"transform {entry['name']}": TRANSFORMS[entry["name"]].cited for entry in study.transforms}
    found |= {f"strategy {entry['name']}": ALGORITHMS[entry["name"]].cited for entry in strategies}
    found |= {f"metric {metric.name}": metric.cited for metric in chosen(study.evaluation.metrics)}
    found["intervals"] = STATISTICS[resampled]
    if tested:
        found["paired tests"] = TESTS
    found |= _of_privacy(study)
    if study.data.made is not None:
        found[f"dataset {study.data.made['name']}"] = DATASETS[study.data.made["name"]].cited
    if study.data.split:
        found[f"split {study.data.split['by']}"] = SPLITS[study.data.split["by"]].cited
    return {what: cited for what, cited in found.items() if set(cited) - {ELEMENTARY}}


def text(found: Cited) -> str:
    """BibTeX, below comments that say what each entry is for."""
    said = [f"% {what}: {', '.join(map(key_of, cited))}" for what, cited in found.items()]
    entries = bibtex(name for cited in found.values() for name in cited)
    return "\n".join(said) + "\n\n" + entries


def _of_model(entry: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A model, its score of latents, and whatever it is made of."""
    kind = MODELS[entry["name"]]
    yield f"model {entry['name']}", kind.cited
    if "one_class" in kind.Config.model_fields:
        score = {NAME: USUAL, **entry.get("one_class", {})}[NAME]
        yield f"one-class score {score}", SCORERS[score].cited
    for member in entry.get("members", ()):
        yield from _of_model(member)


def _of_privacy(study: StudyConfig) -> Cited:
    privacy, found = study.privacy, Cited()
    if privacy.epsilon is not None:
        found["differential privacy"] = ("dwork2014", "balle2018")
        found["its gradients and accounting"] = ("abadi2016", "doroshenko2022")
    if privacy.secure_aggregation is not None:
        found["secure aggregation"] = ("bonawitz2017",)
        if privacy.secure_aggregation.noise == "distributed":
            found["distributed noise"] = ("kairouz2021",)
    if privacy.central is not None:
        found["central differential privacy"] = ("mcmahan2018", "balle2018")
    return found
