"""What words mean: those of reports, whose tables link here, and those of pages and commands. `normfed docs WORD`."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One word or several that are explained together.

    Parameters
    ----------
    name
        Of the place on the page that explains it.
    words
        With commas between; more, such as an abbreviation, in brackets.
    metrics
        Those that tables show under this word.
    """

    name: str
    words: str
    text: str
    metrics: tuple[str, ...] = ()

    def means(self, word: str) -> bool:
        """Whether it explains a word, however that is spelt: `P-value`, `held-out`, `AP`."""
        words = re.split(r", | and |[()]", self.words)
        return _plain(word) in {_plain(each) for each in (self.name, self.words, *words)} - {""}


BRAINS = {  # where the brain mask of a scored scan is from
    "given": "a mask that was given or lay beside the scan",
    "template": "the template's, laid over the scan",
    "background": "all that is not zero, for the scan holds nothing but the brain",
}
TERMS = (
    Term(
        "federated",
        "federated, pooled, local",
        "one model trained by all sites together; one trained on all scans in one place; one at each site, "
        "from its own scans alone, and at a site that trains none the mean over the other sites' own",
    ),
    Term(
        "sums",
        "sums, FedAvg and other strategies",
        "how the sites' parts become one model: sums over people are added up, which gives what all scans in "
        "one place would; networks are averaged round by round, by the strategy that is named",
    ),
    Term(
        "unseen",
        "federation without the site",
        "at each hospital the federation's model that never saw it: the one trained by all others, or the "
        "federated model where the hospital trains nothing",
    ),
    Term(
        "borrowed",
        "other sites' own models",
        "at each hospital the mean over all other hospitals' local models: what it can expect of taking another's",
    ),
    Term(
        "baseline",
        "trivial baseline",
        "no trained network: such as atlas, how far a voxel is from the normal people's mean, or FLAIR "
        "intensity, how bright it is. A model that does not beat it is not worth its training",
    ),
    Term(
        "chance",
        "chance",
        "what a map of noise would get. Of average precision it is the lesions' share of the voxels that are ranked",
    ),
    Term(
        "interval",
        "95 % interval",
        "of a mean over patients; the trained models are held fixed, so another seed is not in it. Over "
        "trainings: of the mean of several trainings of the model, for these very patients (Student's t)",
    ),
    Term(
        "tie",
        "tie, tied, not distinguishable",
        "the interval of the difference touches zero in the digits shown, the paired test (in a simulation: Wilcoxon "
        "signed-rank, Holm-corrected) has p = 0.05 or more or points the other way, or another training says otherwise",
    ),
    Term(
        "few",
        "too few",
        "fewer than six patients; or so few that the corrected paired test's p could not be below 0.05 even if every "
        "patient agreed",
    ),
    Term(
        "auroc",
        "AUROC",
        "how often a voxel in the lesion scores higher than one outside: 1 is perfect, 0.5 is chance, below "
        "it healthy tissue scores higher. Where lesions are small it is high long before a map is of use",
        ("auroc",),
    ),
    Term(
        "auroc30",
        "AUROC30",
        "the same for false positive rates up to 0.3 only; plain: chance is 0.15; McClish: rescaled so that "
        "chance is 0.5",
        ("auroc30", "auroc30_mcclish"),
    ),
    Term(
        "ap",
        "average precision (AP)",
        "share of lesion among the voxels that score highest, averaged over thresholds; chance is the "
        "lesion's share of the brain, so it differs between patients",
        ("auprc",),
    ),
    Term(
        "aupro",
        "AUPRO, AUPRO30",
        "as AUROC and AUROC30 (plain), but every separate lesion counts alike, whatever its size",
        ("aupro", "aupro30"),
    ),
    Term(
        "dice",
        "Dice",
        "overlap of what was found with the lesion, 0 to 1; at threshold: as one would use the model; best "
        "Dice: at the threshold that suits the patient best, which nobody knows beforehand; surface Dice: of "
        "the outlines",
        ("best_dice", "dice", "surface_dice"),
    ),
    Term(
        "held-out",
        "held out, held-out normal people",
        "normal people on whom nothing is trained: they set thresholds and p-values, and show how much of a normal "
        "brain is called abnormal",
    ),
    Term(
        "threshold",
        "threshold",
        "the score from which on a voxel is called abnormal: such that the study's specificity of held-out normal "
        "people's voxels lies below it, and where too few are held out, of the patients' own lesion-free tissue",
    ),
    Term(
        "p-value",
        "p-value",
        "of a voxel: the share of held-out normal people's voxels that score at least as high. Of two models: how "
        "likely a difference as large as theirs would be if they were equally good",
    ),
    Term(
        "false-positives",
        "false positives in normal people",
        "share of the brain of held-out normal people that is called abnormal, where the threshold is set on "
        "those of other sites; the study promises 1 − its specificity",
    ),
    Term(
        "image-auroc",
        "image AUROC",
        "how often a patient scores higher than a held-out normal person; it has no value for local, whose "
        "models score each on a scale of its own, but for each site",
        ("image_auroc",),
    ),
    Term(
        "found",
        "lesions found, false clusters",
        "share of a patient's lesions that a cluster of abnormal voxels touches; clusters that touch none. At "
        "most ten clusters a patient count (Alaverdyan 2020)",
        ("lesion_sensitivity", "false_clusters"),
    ),
    Term(
        "rank",
        "rank of first hit",
        "the place of the first cluster that touches a lesion, the most suspicious first: 1 is best; over "
        "patients with a hit",
        ("cluster_rank",),
    ),
    Term(
        "froc",
        "FROC",
        "share of lesions found before 1, 2, 4 and 8 false clusters are exceeded, on average",
        ("froc",),
    ),
    Term(
        "conformal-p",
        "conformal p",
        "share of held-out normal people's scans that are at least as abnormal as the patient's, which counts as one "
        "of them: small where the patient stands out; with n of them it is never below 1 / (n + 1), and 1 where all of "
        "them are at least as abnormal",
        ("conformal_p",),
    ),
    Term(
        "p-error",
        "p-value error across sites",
        "how far normal people of one site, judged by the other sites' normal people, are from uniform; a "
        "scanner that looks like illness shows here",
    ),
    Term(
        "merged",
        "all scans together",
        "one ranking for the voxels of all patients, so scores must mean the same everywhere. Only counts "
        "between common edges left the sites; the interval must hold the exact value",
    ),
    Term(
        "kinds",
        "WMH, MS, FCD",
        "kinds of lesion: white matter hyperintensities, multiple sclerosis, focal cortical dysplasia",
    ),
)
MORE = (
    Term("site", "site, hospital", "one holder of scans. In a simulation a site of the dataset stands for a hospital"),
    Term("study", "study", "one experiment, all of it: a YAML file"),
    Term("run", "run", "a study that was run, and the folder that it leaves"),
    Term("round", "round", "sites train, send what changed, and the server makes the next model"),
    Term(
        "strategy",
        "strategy",
        "how sites learn together: what leaves a site, what sites minimise, what the server does with the answers",
    ),
    Term("arm", "arm", "one model of a run: the federated one, local ones, pooled, baselines"),
    Term("minimum-cohort", "minimum cohort", "the number of people below which a site says nothing"),
    Term("quorum", "quorum", "the number of sites that a round needs"),
    Term(
        "canary",
        "canary",
        "one batch at every site before a run begins, which finds in minutes what would otherwise break after hours. "
        "In a privacy audit: a scan put among those trained on, for attackers to find",
    ),
    Term("normal", "normal", "what a study learns from: healthy people, or patients' tissue far from any lesion"),
    Term(
        "harmonization",
        "harmonization",
        "taking off what a scanner adds, so that scans of several can be compared",
    ),
    Term(
        "brain",
        "brain, given, template, background",
        "where the brain mask of a scored scan is from: "
        + "; ".join(f"{where}, {what}" for where, what in BRAINS.items())
        + "; or the network of that name and version found it",
    ),
)


def term(word: str) -> Term | None:
    """What explains a word; None where none does."""
    return next((found for found in (*TERMS, *MORE) if found.means(word)), None)


def _plain(word: str) -> str:
    return " ".join(word.lower().replace("-", " ").split())


def by_metric() -> dict[str, Term]:
    """Metric to what explains it."""
    return {metric: term for term in TERMS for metric in term.metrics}
