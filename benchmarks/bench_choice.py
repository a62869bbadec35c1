"""How much of a gain is left when constants are chosen at other hospitals than those they are judged at.

    python benchmarks/bench_choice.py --data BIDS [--study NAME ...] [--models FAMILY ...] [--out DIR]

The constants of `studies/` were chosen on the people of `bench_models`, which flatters them. Here, for each site, the
candidate of a family with the highest mean average precision at all *other* sites is taken, and judged at that site
(nested choice; Varma and Simon 2006, BMC Bioinformatics 7:91). Beside it stand the shipped constants and the family's
reference; differences are paired by person, with an interval over people. With --out everybody's figures are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench_models import arguments, markdown, results, studies_of
from common import machine
from model_figures import Row, by_site, difference, mean
from transfer import Entry

from normfed_common.foundation.errors import UserError
from normfed_common.study.config import StudyConfig

FLAIR, T1 = ("real-flair", "real-brains"), ("real-t1-controls",)


@dataclass(frozen=True)
class Family:
    """Candidates to choose among, by label.

    Parameters
    ----------
    shipped
        The candidate that the study has.
    reference
        The candidate that others are compared with.
    """

    studies: tuple[str, ...]
    candidates: Mapping[str, Entry]
    shipped: str
    reference: str


def _entries(labels: Mapping[str, Mapping[str, Any]], **values: Any) -> dict[str, Entry]:
    return {label: Entry(label=f"choice {label}", model=dict(model), **values) for label, model in labels.items()}


def _prior(model: Mapping[str, Any], label: str, **options: Sequence[float]) -> dict[str, dict[str, Any]]:
    """A model under every combination of options of the post-processing."""
    found = {}
    for chosen in product(*options.values()):
        parts = dict(zip(options, chosen, strict=True))
        found[", ".join([label, *(f"{name} {value:g}" for name, value in parts.items())])] = {
            **model,
            "postprocessing": parts,
        }
    return found


INTENSITY = {"name": "intensity", "scale": "units"}
PRIOR = {"edge_mm": 5.0, "grey_factor": 0.4}
FILTER = {"name": "matched-filter", "postprocessing": PRIOR}
ATLAS = {"name": "atlas", "units": "robust"}
FAMILIES = {
    "prior": Family(
        FLAIR,
        _entries(_prior(INTENSITY, "intensity", edge_mm=(0.0, 2.5, 5.0, 7.5), grey_factor=(1.0, 0.6, 0.4, 0.2))),
        "intensity, edge_mm 5, grey_factor 0.4",
        "intensity, edge_mm 5, grey_factor 1",  # without a prior of place
    ),
    "filter": Family(
        FLAIR,
        _entries(
            {"nothing learnt": {**INTENSITY, "postprocessing": PRIOR}}
            | {f"white, weight {w:g}": {**FILTER, "normative": w} for w in (0.0625, 0.125, 0.25)}
            | {
                f"learnt, weight {w:g}": {**FILTER, "noise": "learnt", "beside": 0.5, "normative": w}
                for w in (0.125, 0.25)
            }
        ),
        "white, weight 0.125",
        "nothing learnt",
    ),
    "atlas": Family(
        T1,
        _entries(
            _prior(ATLAS, "atlas", smoothing_mm=(0.0, 3.0), edge_mm=(0.0, 5.0), grey_factor=(1.0, 0.6, 0.3)),
            sums="by-site",
        ),
        "atlas, smoothing_mm 3, edge_mm 5, grey_factor 0.3",
        "atlas, smoothing_mm 3, edge_mm 0, grey_factor 1",
    ),
}


def nested(candidates: Mapping[str, Sequence[Row]]) -> tuple[list[Row], dict[str, str]]:
    """Everybody's figures under the candidate that is best at other sites, and which this is at each site.

    Parameters
    ----------
    candidates
        By label the figures of the same people in the same order.
    """
    first = next(iter(candidates.values()))
    chosen = {
        site: max(candidates, key=lambda label: mean([row for row in candidates[label] if row["site"] != site]))
        for site in by_site(first)
    }
    people = [
        candidates[chosen[person["site"]]][number] for number, person in enumerate(first) if person["site"] in chosen
    ]
    return people, chosen


def table(study: StudyConfig, name: str, found: Mapping[str, Sequence[Row]]) -> str:
    """Three ways to choose, in Markdown, and what was chosen where."""
    family = FAMILIES[name]
    people, chosen = nested(found)
    rows = {
        f"{family.reference} (reference)": found[family.reference],
        f"{family.shipped} (shipped)": found[family.shipped],
        "chosen at the other sites": people,
    }
    lines = [
        [label, f"{mean(of):.3f}", "{:+.3f} ({:+.3f} to {:+.3f})".format(*difference(of, found[family.reference]))]
        for label, of in rows.items()
    ]
    counts = Counter(chosen.values()).most_common()
    return "\n".join(
        [
            f"### {study.name}, {name}: {len(family.candidates)} candidates",
            "",
            *markdown(["constants", "AP", "less the reference, 95 %"], lines),
            "",
            "Chosen: " + "; ".join(f"{label} at {count} of {len(chosen)} sites" for label, count in counts) + ".",
        ]
    )


def main() -> None:
    parser = arguments(str(__doc__), (*FLAIR, *T1), tuple(FAMILIES))
    given = parser.parse_args()
    unknown = sorted(set(given.models) - FAMILIES.keys())
    if unknown:
        parser.error(f"--models: no family is called {', '.join(unknown)}. There are {', '.join(FAMILIES)}.")
    try:
        print(machine())
        for study in studies_of(given):
            for name in given.models:
                family = FAMILIES[name]
                if study.name in family.studies:
                    of = results(study, list(family.candidates.values()), given)
                    found = {label: one["people"] for label, one in zip(family.candidates, of, strict=True)}
                    print(f"\n{table(study, name, found)}", flush=True)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
