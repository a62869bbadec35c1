"""How the sites learn together, and what the result stands beside."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from normfed_common.study.base import Frozen, NamedEntry

PLAIN = {"name": "fedavg"}  # the strategy of whatever names none: baselines, local and pooled models too
Compression = Literal["none", "fp16", "bf16", "int8"]
Precision = Literal["float32", "bf16", "fp16"]
SumsBy = Literal["by-people", "by-site"]


class FederationConfig(Frozen):
    """Rounds of training, and when a round is over."""

    rounds: int = Field(
        20, ge=1, le=100_000, description="in which sites train and the server averages; models of sums need none"
    )
    local_epochs: int = Field(1, ge=1, le=1000, description="passes over the site's subjects per round")
    optimiser: Literal["adam", "sgd"] = Field("adam", description="at the sites; it starts anew in every round")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="of the sites' optimiser")
    minimum_cohort: int = Field(
        3, ge=1, description="a site with fewer training subjects sends no update, with fewer test subjects no figures"
    )
    threads_per_site: int = Field(
        1, ge=1, le=64, description="CPU threads while a site trains; part of the study, since sums depend on it"
    )
    sample: float = Field(1.0, gt=0, le=1, description="share of the sites asked in a round, drawn anew for each")
    quorum: int | None = Field(
        None, ge=1, description="sites whose updates a round needs; more than half of those asked when absent"
    )
    quorum_subjects: float = Field(0.0, ge=0, le=1, description="share of the asked sites' training people it needs")
    largest_may_be_left_out: bool = Field(
        False, description="whether a quorum may close a round without the site with most people"
    )
    patience_s: float = Field(
        3600.0, ge=0, description="a round ends when everybody answered, or after this long with its quorum there"
    )
    largest_update: float = Field(
        1000.0,
        gt=0,
        description="an update longer than this many times the model (plus one) is set aside; a round never makes the "
        "model longer than that either",
    )
    largest_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="of the weights of a round, or of sums, that one site may have, whatever it says of its people or "
        "losses, and of the held-out voxels that the threshold comes from; below 1 the server holds a round's updates "
        "or sums all together",
    )
    sums: SumsBy = Field(
        "by-people",
        exclude_if=lambda by: by == "by-people",  # studies without the key keep their digests
        description="weights of the sites' sums: by-people they are those of all people in one place; by-site one "
        "scanner's many people count no more than another's few",
    )
    precision: Precision = Field(
        "float32",
        description="of the sites' networks; bf16 pays on a GPU with large batches of large images, fp16 on older ones",
    )
    compression: Compression = Field(
        "none", description="of updates: differences as fp16, bf16 or int8; models go out as fp16 or bf16"
    )


class ComparisonConfig(Frozen):
    """What stands beside the federated model in every table."""

    local: bool = Field(True, description="every site trains alone; gives the train-site x test-site matrix")
    pooled: bool = Field(True, description="all scans in one place, as no federation could (simulation only)")
    leave_one_site_out: bool = Field(
        False, description="each training site tested on a federation without it, beside all other sites' own models"
    )
    strategies: tuple[NamedEntry, ...] = Field(
        (), description="other strategies, trained and tested the same way", examples=["[fedprox, ditto]"]
    )
    repeats: int = Field(
        1,
        ge=1,
        le=100,
        description="trainings of the study's model, however it is trained, from other weights and batches; one where "
        "nothing is drawn",
    )
    compressions: tuple[Compression, ...] = Field(
        (), description="the study's own strategy again under other compressions: what they cost"
    )
    baselines: tuple[NamedEntry, ...] = Field(
        ({"name": "intensity"}, {"name": "atlas"}, {"name": "atlas", "scale": "none"}),
        description="models with their parameters, as under `model`; a second of one name is numbered, atlas#2, and "
        "the study's own model over again is left out where nothing is drawn",
        examples=["[{name: atlas}]"],
    )
