"""Who is in a dataset, as a frame."""

from __future__ import annotations

from pathlib import Path

import pandas

from normfed_client.imaging.bids import read_dataset
from normfed_simulation.api.places import Place
from normfed_simulation.api.wording import spoken_in_python
from normfed_simulation.datasets.recognition import as_bids


@spoken_in_python
def inspect(data: Place) -> pandas.DataFrame:
    """Who is in a dataset, by file names alone: a row for every visit.

    Parameters
    ----------
    data
        A BIDS dataset whose participants.tsv has a column `site`, or a public one as it came.

    Returns
    -------
    With the columns

    - ``site``, ``subject``, ``session``, ``group``, ``age`` in years, ``sex``, ``scanner``: missing where not told;
    - ``modalities`` and ``lesions`` (kinds of masks): names with commas; ``brain_mask``: whether there is one.

    What cannot be used, and why, is in ``attrs["problems"]``: pairs of what and why.

    Raises
    ------
    DatasetError
        If there is no such dataset.
    """
    dataset = read_dataset(as_bids(Path(data)))
    columns = ["site", "subject", "session", "group", "age", "sex", "scanner", "modalities", "brain_mask", "lesions"]
    frame = pandas.DataFrame(
        [
            (
                visit.participant.site,
                visit.participant.subject,
                visit.session,
                visit.participant.group or None,
                visit.participant.age,
                visit.participant.sex,
                visit.participant.scanner,
                ", ".join(sorted(visit.images)),
                visit.brain is not None,
                ", ".join(sorted({mask.label for mask in visit.lesions})),
            )
            for visit in dataset.visits
        ],
        columns=columns,
    ).astype({"age": float})
    frame.attrs["problems"] = [(problem.what, problem.why) for problem in dataset.problems]
    return frame
