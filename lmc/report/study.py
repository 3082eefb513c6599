"""The report of a study: its claims, each with the number that decides it."""

from __future__ import annotations

import xarray as xr

from lmc.report.html import el, table
from lmc.report.section import Section, as_mapping, confidence, sentence, shown_if_drawn, with_interval

_TONES = {"reproduced": "good", "not reproduced": "bad"}


def study_section(dataset: xr.Dataset) -> Section:
    """Return what is said about a result of kind ``study``."""
    attrs = dataset.attrs
    outcomes = [str(word) for word in dataset["outcome"].values]
    counts = {word: outcomes.count(word) for word in dict.fromkeys(outcomes)}
    rows = []
    for i, claim in enumerate(map(str, dataset["claim"].values)):
        unit = str(dataset["claim_unit"].values[i])
        estimate = with_interval(dataset["estimate"].values[i], dataset["estimate_ci"].values[i])
        outcome = el("span", outcomes[i], class_=_TONES.get(outcomes[i]))
        measured = estimate if unit == "1" else f"{estimate} {unit}"
        rows.append([claim, measured, outcome, str(dataset["literature"].values[i])])
    told = "; ".join(f"{number} {word}" for word, number in counts.items())
    settings = as_mapping(attrs, "settings")
    return Section(
        title=str(attrs.get("study", "Study")),
        finding=[f"Of {len(rows)} claims: {told}."],
        figures=shown_if_drawn(dataset, None, f"The measurements of the study. {told}.", "The measurements."),
        tables=[
            table(
                f"Claims [{confidence(attrs)} interval over the draw of the runs]",
                ["claim", "measured", "outcome", "literature"],
                rows,
                numbers=False,
            )
        ],
        method=[
            *([sentence(f"measured on {attrs['data']}")] if attrs.get("data") else []),
            *(f"{sentence(name)} {value}." for name, value in settings.items()),
        ],
        caveats=["A claim is decided by a rule on its interval that the analysis states; its runs are few and small."],
    )
