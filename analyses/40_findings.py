"""Write docs/findings.md, two pages, and docs/claims.md, every claim, from the results of the studies in data/.

No number on these pages is typed by hand:

    python analyses/40_findings.py
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from lmc import schema

ROOT = Path(__file__).parents[1]
DATA, DOCS = ROOT / "data", ROOT / "docs"
MARKS = dict(zip(schema.OUTCOMES, ("✓", "✗", "?"), strict=True))


@dataclass(frozen=True)
class Told:
    """What the short page tells of a study: its picture of the gallery, and of its claims those that match a pattern.

    A claim's new words may use the groups of its pattern; every pattern has to match some claim.
    """

    title: str
    claims: Mapping[str, str]
    figure: str = ""
    remark: str = ""


TOLD = {
    "20_width_depth": Told(
        "Width and depth",
        {
            r"slope of the aligned test loss barrier against log width, (\d+)": r"slope over widths \1 to 512, matched",
            r"aligned test loss barrier as a share": "matched, as a share of unmatched",
            r"naive test loss barrier: its peak, at width (\d+), above that at 4$": r"unmatched: its peak (width \1) "
            "above that at width 4",
            r"against depth .* alignment none": "slope over depths 1 to 4, unmatched",
            r"against depth .* alignment weights": "slope over depths 1 to 4, matched",
            r"counterexample": "2-2-2-1 networks, best of all 4 permutations: error barrier",
        },
        "20_width",
    ),
    "21_training_time": Told(
        "Training time",
        {
            r"strong, .* into a common order.*\((.*)\)": r"one order for all models: barrier above that by pairs (\1)",
            r"initialisations, width (\d+): .*\((.*)\) above .*\((.*)\)": r"initialisations, width \1, final "
            r"permutation: accuracy \2, above chance (\3) by",
        },
        "21_training_time",
        remark="The last epoch's permutation serves earlier epochs better than their own.",
    ),
    "22_instability": Told(
        "Children of one parent",
        {
            r"(\S+): error barrier .* initialisation only (\(.*\))": r"\1 \2, initialisation shared",
        },
        "22_instability",
        remark="Error barrier of siblings; stable: under 0.02 from there on.",
    ),
    "23_dimension": Told(
        "Effective dimension",
        {
            r"slope of the dimension of fc1 .*(\(.*\))": r"slope of the dimension of layer 1 \1",
            r"slope of the test loss barrier, weights,.*(\(.*\))": r"slope of the matched barrier \1",
            r"correlation of their logs": "correlation of both",
            r"rate of W2 of (\S+) (\(.*\))": r"slope of the convergence rate of W2, \1 \2",
            r"by covariance-weighted matching (\(.*\)) minus by plain (\(.*\))": r"rate 1e-3: covariance-weighted "
            r"\1 minus plain matching \2",
        },
        "23_learning_rate",
        remark="Slopes against log10 of the learning rate. Small rates are undertrained: dimension and training time "
        "change together.",
    ),
    "24_repair": Told(
        "Statistics and depth",
        {
            r"norm (\S+): error barrier that (.*) takes away, .*(\(.*\))": r"norm \1: error barrier that \2 takes away "
            r"\3",
            r"norm (batch): slope .* before": r"norm \1: slope before that",
            r"norm (batch): spread .*(\(.*\))": r"norm \1: spread at the midpoint \2, slope",
        },
        "24_repair_batch",
    ),
    "25_pruning": Told(
        "Pruning",
        {
            r"^(6\.\S+%).*(\(.*\))": r"\1 of weights left: barrier that the dense permutation takes away \2",
            r"above that of the (random|unpermuted) one": r"B's permuted mask on A: accuracy above the \1 mask's",
        },
        "25_pruning",
    ),
    "12_recurrent_fusion": Told(
        "Recurrent networks",
        {r"(\S+): midpoint accuracy, (gwb, weights minus .*|.* minus none) \(at": r"\1: \2"},
    ),
    "26_wild": Told(
        "Checkpoints in the wild",
        {
            r"(\S+): error barrier of its pair by (\S+) (\(.*\))": r"\1, `\2` \3",
            r"(\S+): share of its (\d+ pairs) that are connected (\(.*\))": r"\1, share of \2 connected \3",
        },
        remark="Error barrier; connected: surely under 2%.",
    ),
}


def short(value: float) -> str:
    """Return a number with three or four digits."""
    text = f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def measured(claim: xr.Dataset) -> str:
    """Return what was measured, with its interval and unit."""
    low, high = (short(x) for x in claim.estimate_ci.values)
    unit = {"1": "", "percentage points": " points"}.get(claim.claim_unit.item(), f" {claim.claim_unit.item()}")
    return f"{short(claim.estimate.item())} [{low}, {high}]{unit}"


def each(study: xr.Dataset) -> list[xr.Dataset]:
    """Return the claims of a study."""
    return [study.isel(claim=i) for i in range(study.sizes["claim"])]


def lines(told: Told, study: xr.Dataset) -> list[str]:
    """Return a line for every claim that is told; what the literature says where it is not that of the line before."""
    found, met, source = [], set(), ""
    for claim in each(study):
        for pattern, words in told.claims.items():
            if match := re.search(pattern, claim.claim.item()):
                met.add(pattern)
                again, source = source == claim.literature.item(), claim.literature.item()
                text = f"{MARKS[claim.outcome.item()]} {match.expand(words)}: **{measured(claim)}**"
                found.append(text if again else f"{text}; *{source}*")
                break
    if missing := set(told.claims) - met:
        raise SystemExit(f"{told.title}: no claim matches {sorted(missing)}")
    return found


def means(study: xr.Dataset, name: str, **chosen: object) -> str:
    """Return a variable's means over pairs."""
    return ", ".join(short(float(x)) for x in study[name].sel(**chosen).mean("pair").values)


def remark(name: str, study: xr.Dataset) -> str:
    """Return what the claims of a study do not say by themselves."""
    told = TOLD[name].remark
    if name == "12_recurrent_fusion":
        middle = 100 * study.accuracy.sel(t=0.5).mean("pair")
        rows = [
            f"{kind} {', '.join(f'{x:.0f}' for x in here.values)}"
            for kind, here in zip(study.network.values, middle, strict=True)
        ]
        told = f"Midpoint accuracy in percent by {'; '.join(study.alignment.values)}: {'. '.join(rows)}. "
        told += "(gwb: Gromov-Wasserstein barycenter.)"
    if name == "26_wild":
        verdicts = study.verdict.to_series().value_counts()
        told += " Pairs: " + ", ".join(f"{count} {word}" for word, count in verdicts.items()) + "."
    return told


def row(name: str, study: xr.Dataset) -> str:
    """Return a study's row: its picture, and what was found."""
    told = TOLD[name]
    picture = f'<img src="img/gallery/{told.figure}.png" width="230" alt="{told.title}">' if told.figure else ""
    command = f"[`python analyses/{name}.py`](../analyses/{name}.py)"
    said = [f"**{told.title}.** {remark(name, study)} {command}", *lines(told, study)]
    return f"| {picture} | {'<br>'.join(' '.join(text.split()) for text in said)} |"


def batches(study: xr.Dataset) -> str:
    """Return the section on the batch size that a source does not name."""
    names = ["batch size", *(f"epoch {e}" for e in study.shown_epoch.values)]
    names += ["factor", "on training images", "midpoint alone", "unmatched"]
    published = [f"{x:.3f}" for x in study.published_barrier.values]
    table = [names, ["---"] * len(names), ["Sharma", *published, *[""] * 3, "0.80 to 0.54"]]
    by_batch = [claim for claim in each(study) if "batches of" in claim.claim.item()]
    barrier = study.batch_loss_barrier.mean("pair")
    for size, claim in zip(study.batch.values, by_batch, strict=True):
        here = barrier.sel(batch=size)
        final = here.sel(shown_row="final")
        read = {key: final.sel(measured_on=key[0], reading=key[1]).values for key in (TEST, TRAIN, MIDDLE)}
        naive = here.sel(shown_row="none", measured_on="test", reading="maximum").values
        factor = f"{MARKS[claim.outcome.item()]} {measured(claim)}"
        others = [f"{_factor(read[key], study.published_barrier.values):.1f}" for key in (TRAIN, MIDDLE)]
        shown = f"{naive[0]:.2f} to {naive[-1]:.2f}"
        table.append(
            [
                str(size),
                *(_bold(x, y) for x, y in zip(read[TEST], study.published_barrier.values, strict=True)),
                factor,
                *others,
                shown,
            ]
        )
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
    return f"## The batch size that Sharma does not name\n\n{_wrapped(BATCHES + _agreement(study))}\n\n{rows}"


TEST, TRAIN, MIDDLE = ("test", "maximum"), ("train", "maximum"), ("test", "midpoint")
BATCHES = """Loss barrier by the final permutation (`python analyses/21_training_time.py`), bold within a factor of 2.
The known figures come without batch size, images, and reading of the barrier. Factor: the largest over the epochs
(means under 0.0005 count as that), then that with barriers on training images, and at the midpoint alone. """


def _bold(value: float, published: float) -> str:
    return f"**{value:.3f}**" if published / 2 <= value <= 2 * published else f"{value:.3f}"


def _factor(values: np.ndarray, published: np.ndarray) -> float:
    return float(np.exp(np.abs(np.log(np.maximum(values, 0.0005) / published)).max()))


def _agreement(study: xr.Dataset) -> str:
    barrier, published = study.batch_loss_barrier.mean("pair").sel(shown_row="final"), study.published_barrier.values
    close = {
        key: [
            str(size)
            for size in study.batch.values
            if _factor(barrier.sel(batch=size, measured_on=key[0], reading=key[1]).values, published) <= 2
        ]
        for key in (TEST, TRAIN, MIDDLE)
    }
    words = {TEST: "on test images", TRAIN: "on training images", MIDDLE: "at the midpoint"}
    found = [f"{', '.join(sizes) or 'none'} {words[key]}" for key, sizes in close.items()]
    factors = [_factor(barrier.sel(batch=n, measured_on="test", reading="maximum"), published) for n in study.batch]
    least = int(np.argmin(factors))
    nearest = f"batches of {study.batch.values[least]}, {factors[least]:.2f}"
    return f"Batch sizes within a factor of 2 at all four: {'; '.join(found)}. Nearest: {nearest}."


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False)


def section(name: str, study: xr.Dataset) -> str:
    """Return the full table of a study's claims."""
    origin = f"`python analyses/{name}.py`, {study.attrs.get('data', 'shared checkpoints')}."
    rows = [f"| {c.claim.item()} | {measured(c)} | {c.literature.item()} | {c.outcome.item()} |" for c in each(study)]
    table = "\n".join(["| claim | measured | literature | |", "|---|---|---|---|", *rows])
    return "\n\n".join([f"## {TOLD[name].title}", _wrapped(f"{study.attrs['study']} {origin}"), table])


studies = {name: schema.read(DATA / f"{name}.nc", "study") for name in TOLD if (DATA / f"{name}.nc").exists()}
outcomes = np.concatenate([study.outcome.values for study in studies.values()])
counts = {word: int((outcomes == word).sum()) for word in schema.OUTCOMES}
cpu = sum(float(study.attrs["cpu_seconds"]) for study in studies.values())
head = f"""What the literature says about linear mode connectivity, tried again on a laptop: small networks, first
images of MNIST, three to five seeds. A *barrier* is the rise of the test loss (in nats, or of the error) on the
straight line between two networks; *matched*: units of one were permuted by weight matching ([glossary](glossary.md)).
Of {len(outcomes)} [claims](claims.md), {counts["reproduced"]} show here (✓: the 95% interval, over the draw of the
runs, is wholly on the literature's side), {counts["not reproduced"]} do not (✗), {counts["undecided"]} stay undecided
(?). `make analyses` runs every command below ({cpu / 60:.0f} minutes of one processor) and writes this page by `python
analyses/40_findings.py`. What does not show on an easy task may show elsewhere, and the other way round."""
table = "\n".join(["| | |", "|---|---|", *(row(name, study) for name, study in studies.items())])
page = ["# Findings", _wrapped(head), table, batches(studies["21_training_time"])]
(DOCS / "findings.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
every = ["# All claims", "Written by `python analyses/40_findings.py`; the short version is [findings](findings.md)."]
every += [section(name, study) for name, study in studies.items()]
(DOCS / "claims.md").write_text("\n\n".join(every) + "\n", encoding="utf-8")
print(f"wrote docs/findings.md ({len(' '.join(page).split())} words) and docs/claims.md: {counts}")
