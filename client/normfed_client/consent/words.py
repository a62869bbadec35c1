"""What arrays and header fields are in plain words: for the manifest, its page and the guide `what-leaves`."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from normfed_common.learning.bounded import PEOPLE
from normfed_common.learning.learner import NETWORK
from normfed_common.secure import parts
from normfed_common.wire.compression import SCALE

FIGURES = {
    "range": "least and greatest score, of several people each, rounded",
    "normal": "voxels without lesion, counted by score",
    "lesion": "voxels in lesions, counted by score",
    "held_out": "voxels of held-out normal people, counted by tissue and score",
    "held_out_people": "held-out normal people, counted by score",
    "normal_people": "the same between the common edges",
    "patients": "patients, counted by score",
    "regions": "shares of lesions, by score",
    "moments": "of each figure: people, sum, sum of squares",
    "bootstrap": "nothing: a hospital sends no resampling",
    "image_auroc": "how well scores tell patients from normal people",
}
FIGURES_ABOUT = {
    **dict.fromkeys(("held_out", "held_out_people", "normal_people"), "held out"),
    **dict.fromkeys(("range", "image_auroc"), "tested, held out"),
}

WEIGHT = "a weight of the network"
GRADIENT = "sum of people's gradients of a weight, with this site's share of the noise"
OF_SUMS = {  # model or transform / phase / array; the first that fits
    "*/covariates/scans": "scans of people whose age and sex are told",
    "*/covariates/aged": "scans of people whose age is told",
    "*/covariates/age": "sum of ages",
    "*/covariates/squares": "sum of squares of ages",
    "*/covariates/women": "scans of women",
    "*/covariates/men": "scans of men",
    "*/patches/aged": "scans of people whose age is told",
    "*/patches/age": "sum of ages",
    "*/patches/squares": "sum of squares of ages",
    "*/patches/women": "scans of women",
    "*/patches/men": "scans of men",
    "*/patches/scans": "scans of people whose age and sex are told",
    "siamese/patches/count": "patches drawn, 4,000 of each scan",
    "*/patches/patches": "patches drawn, the same number of each scan",
    "*/patches/sum": "sum of patches, over the whole brain",
    "*/patches/products": "sum of products of their pixels, over the whole brain",
    "*/patches/pairs": "pairs of patches of two people at one place",
    "*/patches/differences": "sum of products of the differences of their pixels, over the whole brain",
    "*/patches/mean": "mean patch of each person, added up, with noise",
    "*/patches/spectrum": "strength of the frequencies in each person's patches, added up, with noise",
    "atlas/moments/count": "people with tissue at each voxel",
    "atlas/moments/sum": "sum of intensities at each voxel",
    "atlas/moments/squares": "sum of their squares",
    "atlas/moments/covariates": "sums of ages, of women and of their products at each voxel",
    "atlas/moments/products": "sums of products of intensities with ages and sexes at each voxel",
    "matched-filter/moments/between": "sum of products of neighbouring places' means",
    "*/scale/count": "voxels drawn, by member of the ensemble",
    "*/scale/sum": "sum of their scores",
    "*/ranks/counts": "voxels counted by each member's score, by tissue where the study says so",
    "*/variance/entries": "numbers in the summaries of patches",
    "*/variance/sum": "their sum",
    "*/variance/squares": "sum of their squares",
    "*/machine/weights": "a machine that tells usual patches, learnt at this site",
    "*/machine/offset": "its threshold",
    "*/scanners/scans": "scans, by whether they are of scanners with enough people",
    "*/machine/people": "people learnt from",
    "mixture/histogram/histogram": "voxels counted by intensity, shares of each person added up, with noise",
    "mixture/*/steps": "how often classes were moved",
    "mixture/*/count": "voxels learnt from",
    "mixture/moments/first": "sum of their intensities",
    "mixture/moments/second": "sum of products of their intensities",
    "mixture/*responsibility": "voxels in each class",
    "mixture/*likelihood": "how well the classes explain all voxels, one number",
    "mixture/*first": "sum of intensities, by class",
    "mixture/*second": "sum of products of intensities, by class",
    "mixture/*log_weight": "sum of logarithms of weights of voxels, by class",
    "mixture/*weight": "sum of weights of voxels, by class",
    "mixture/*axes": "sum of products of weighted intensities, by class",
    "nyul/means/sum": "sum of each scan's landmarks, which are percentiles of intensity",
    "histogram-template/means/sum": "sum of each scan's percentiles of intensity",
    "fourier-amplitude/means/sum": "sum of the amplitudes of each scan's lowest frequencies",
    "*/means/count": "scans, by modality",
    "*/means/landmarks": "percentiles of each person's intensities, added up, with noise",
    "combat/ages/decades": "people by decade of age, as ages are told",
    "combat/*reference_*": "of scans of the reference scanner: see the row without `reference`",
    "combat/*/scanners": "how many scanners there are",
    "combat/*/scans": "scans, by modality",
    "combat/*/degrees": "scans less people, by modality",
    "combat/*/again": "scans after a person's first, by modality",
    "combat/*/within_*": "the same within each scanner, less the scanner's own mean",
    "combat/*/covariates": "sums of ages and sexes",
    "combat/*/covariate_squares": "sums of squares of ages and sexes",
    "combat/*/level*": "how scans of one scanner lie beside those of another of the same people, by region",
    "combat/*/values": "sum of what ComBat harmonizes, by region",
    "combat/*/determinant": "how well second scans tell scanners apart, for each ratio of variances",
    "combat/*/z?": "sums of products of ages and sexes, and of these with intensities, by region",
    "combat/*/xx": "sums of squares of intensities, by region",
    "combat/covariance/residuals": "sum of what ComBat leaves, by region",
    "combat/covariance/products": "sum of products of what ComBat leaves at two regions",
    "combat/covariance/within": "the same within each scanner, less the scanner's own mean",
    "*/moments/voxels": "voxels of each place in the template, which are no person's",
    "*/places/voxels": "voxels of each place in the template, which are no person's",
    "*/moments/centre": "middle of the range at each place, times the people, which is no person's",
    "*/places/centre": "middle of the range at each place, times the people, which is no person's",
    "*/moments/mean": "mean of each person at each place, added up, with noise",
    "*/places/mean": "mean of each person at each place, added up, with noise",
    "*/moments/squares": "mean square of each person at each place, added up, with noise",
    "*/places/count": "scans or voxels learnt from at each place",
    "*/places/people": "whether anybody is learnt from at each place",
    "*/moments/count": "scans or voxels learnt from at each place",
    "*/places/sum": "sum of summaries of patches at each place",
    "*/moments/sum": "sum of summaries at each place",
    "*/places/products": "sum of products of summaries at each place",
    "*/moments/products": "sum of products of summaries at each place",
    f"*/{PEOPLE}": "people learnt from",
}

BESIDE = {
    "site": "this site's name in the federation",
    "subjects": "how many people the answer is about",
    "seconds": "how long the work took",
    "notes": "fixed sentences about the method, of those listed",
    "ledger": "how long the record of privacy spent is, signed; nothing of what is in it",
    "counts": "how many people may be trained on, are held out and are tested",
    "kinds": "names of the kinds of lesion that enough people have, 20 at most: as the study or the masks call them",
    "machine": "versions, memory, disk and graphics card (64 letters) of the machine in round figures, its power",
    "steps": "how many steps training took",
    "loss": "mean loss of training, one number",
    "received_loss": "mean loss of the model as it came, one number",
    "cluster": "which of the models that were sent was trained",
    "groups": "names of the kinds of lesion with figures of their own, 20 at most: as the study or the masks call them",
    "advert": "public keys made for this sum, and how many people the site's part is about, signed",
    "boxes": "shares of these keys' secrets, each to be read by one other site alone",
    "signature": "a signature under the list of sites in the sum",
    "shares": "one share per site, with which the masks come off the sum and no single part",
}


def of_sums(learner: str, phase: str, array: str) -> str:
    """What an array of a summed phase is.

    Parameters
    ----------
    learner
        Name of the model or transform in a study.
    phase
        As the learner calls it.
    """
    name = f"{learner}/{phase}/{array}"
    found = next((words for pattern, words in OF_SUMS.items() if fnmatchcase(name, pattern)), None)
    return found or f"sum over people that {learner} calls {array}"


def masked(array: str, words: Mapping[str, str]) -> str:
    """What an array of a masked answer is, from what it is without masks."""
    own = {parts.PEOPLE: "how many people the part is about", parts.LOSS: "mean loss of training"}
    return f"{own.get(array) or words[array]}; masked"


def of_weight(array: str) -> str:
    """What an array of an update is."""
    return "how large one step of a weight's change is" if array.startswith(SCALE) else WEIGHT


def is_weight(array: str) -> bool:
    """Whether an array is one of dozens of a network, which a person reads as one."""
    return array.startswith((NETWORK, SCALE))
