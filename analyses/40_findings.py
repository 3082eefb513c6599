"""Write docs/findings.md from the results of the studies in data/, so that no number on the page is typed by hand.

python analyses/40_findings.py
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import xarray as xr

from lmc import schema

ROOT = Path(__file__).parents[1]
DATA, PAGE, DRAWN = ROOT / "data", ROOT / "docs" / "findings.md", ROOT / "docs" / "img" / "gallery"

TITLES = {
    "20_width_depth": "Width and depth",
    "21_training_time": "Training time and initialisations",
    "22_instability": "Children of one parent",
    "23_dimension": "Effective dimension",
    "24_repair": "Statistics and depth",
    "25_pruning": "Pruning",
    "12_recurrent_fusion": "Recurrent networks",
    "14_vit_fusion": "Vision transformers",
    "26_wild": "Checkpoints in the wild",
}
FIGURES = {
    "20_width_depth": ("20_width", "20_depth"),
    "21_training_time": ("21_training_time",),
    "22_instability": ("22_instability",),
    "23_dimension": ("23_learning_rate",),
    "24_repair": ("24_repair_batch",),
    "25_pruning": ("25_pruning",),
    "12_recurrent_fusion": ("recurrent",),
    "14_vit_fusion": (),
    "26_wild": (),
}
"""Names of the pictures that `make gallery` puts into docs/img/gallery."""


def means(study: xr.Dataset, name: str, **chosen: object) -> list[str]:
    """Return a variable's means over pairs."""
    return ["-" if np.isnan(x) else f"{float(x):.3f}" for x in study[name].sel(**chosen).mean("pair").values]


def remark(name: str, study: xr.Dataset) -> str:
    """Return what a table of claims does not say by itself."""
    if name == "20_width_depth":
        naive, aligned = (
            means(study, "width_loss_barrier", alignment=a, measured_on="test") for a in ("none", "weights")
        )
        deep = means(study, "depth_loss_barrier", alignment="weights", measured_on="test")
        return (
            f"Mean test loss barrier at widths {_list(study.width)}: {', '.join(naive)} as they are, "
            f"{', '.join(aligned)} matched; matched at depths {_list(study.depth)}: {', '.join(deep)}. The naive "
            "barrier does not rise towards an interpolation width here. From the smallest widths, which do not "
            "solve the task, the slope is steeper and its interval wider. The counterexample is proved by trying all "
            "four permutations: for tiny hand-made networks the conjecture is false."
        )
    if name == "21_training_time":
        rows = [means(study, "loss_barrier", alignment=row) for row in ("none", "final", "weights")]
        return (
            f"Test loss barrier at epochs {_list(study.epoch)}: {', '.join(rows[0])} as they are, "
            f"{', '.join(rows[1])} by the permutation of the last epoch, {', '.join(rows[2])} matched at that epoch: "
            "early on, the late "
            "permutation connects better than one found there."
        )
    if name == "22_instability":
        shown = [
            f"{network}: {', '.join(means(study, 'error_barrier', network=network, alignment='none'))}"
            for network in map(str, study.network.values)
        ]
        return f"Error barrier of siblings that share {_list(study.step)} steps. " + "; ".join(shown) + "."
    if name == "23_dimension":
        rows = [means(study, "loss_barrier", alignment=row) for row in ("none", "weights", "covariance")]
        dimension = [f"{x:.0f}" for x in study.dimension.isel(layer=0).mean("seed").values]
        accuracy = [f"{100 * x:.1f}" for x in study.accuracy.mean("pair").values]
        return (
            f"Learning rates {_list(study.lr)}: dimension of the first layer {', '.join(dimension)}; test loss barrier "
            f"{', '.join(rows[0])} as they are, {', '.join(rows[1])} matched, {', '.join(rows[2])} matched with inputs "
            f"weighed by their second moments. The smallest rates are undertrained (accuracy {', '.join(accuracy)}%): "
            "dimension and training time change together here. Weighing helps where the dimension is high and "
            "costs a little where it is low."
        )
    if name == "24_repair":
        lines = []
        for norm in map(str, study.norm.values):
            chosen = {"norm": norm, "alignment": "weights"}
            before, after = (means(study, "error_barrier", stage=stage, **chosen) for stage in ("before", "after"))
            lines.append(f"norm {norm}: {', '.join(before)} before, {', '.join(after)} after")
        least = study.accuracy.min("seed")
        left = [
            f"norm {n}, depth {d}"
            for n in study.norm.values
            for d in study.depth.values
            if least.sel(norm=n, depth=d) < 0.8
        ]
        lines.append(f"left out, since networks there do not solve the task: {'; '.join(left) or 'nothing'}")
        return f"Error barrier of matched networks at depths {_list(study.depth)}. " + "; ".join(lines) + "."
    if name == "25_pruning":
        rows = [means(study, "loss_barrier", alignment=row) for row in ("none", "weights", "dense")]
        return (
            f"Test loss barrier at densities {_list(study.density)}: {', '.join(rows[0])} as they are, "
            f"{', '.join(rows[1])} matched at that density, {', '.join(rows[2])} by the dense networks' permutation."
        )
    if name == "14_vit_fusion":
        return " ".join(_accuracies(study, str(network)) for network in study.network.values)
    if name != "26_wild":
        return ""
    verdicts = study.verdict.to_series().value_counts()
    return "Verdicts: " + ", ".join(f"{count} pairs {word}" for word, count in verdicts.items()) + "."


def _accuracies(study: xr.Dataset, network: str) -> str:
    """Return the mean accuracy, least and greatest, of every row of a network."""
    one = 100 * study[["accuracy", "parent_accuracy"]].sel(network=network)
    rows = [(str(m), one.accuracy.sel(method=m).values) for m in study.method.values]
    shown = ", ".join(f"{row} {x.mean():.1f} [{x.min():.1f}, {x.max():.1f}]" for row, x in rows)
    parents = ", ".join(f"{x:.1f}" for x in one.parent_accuracy.values)
    what = "accuracy in %, mean over pairs with the least and the greatest"
    return f"{network.capitalize()}, {what}: {shown}; parents {parents}."


def section(name: str, study: xr.Dataset) -> str:
    """Return the section of a study."""
    rows = []
    for i in range(study.sizes["claim"]):
        one = study.isel(claim=i)
        low, high = one.estimate_ci.values
        unit = "" if one.claim_unit.item() == "1" else f" {one.claim_unit.item()}"
        number = f"{_number(one.estimate.item())} [{_number(low)}, {_number(high)}]{unit}"
        rows.append(f"| {one.claim.item()} | {number} | {one.literature.item()} | {one.outcome.item()} |")
    drawn = [
        f"![{TITLES[name]}: {one}](img/gallery/{one}.png)" for one in FIGURES[name] if (DRAWN / f"{one}.png").exists()
    ]
    origin = f"`python analyses/{name}.py`, {study.attrs.get('data', 'shared checkpoints')}."
    first = textwrap.fill(f"{study.attrs['study']} {origin}", 120, break_long_words=False)
    second = textwrap.fill(remark(name, study), 120, break_on_hyphens=False)
    table = "\n".join(["| claim | measured | literature | |", "|---|---|---|---|", *rows])
    return "\n\n".join(
        [f"## {TITLES[name]}", *filter(None, [first, second]), *([" ".join(drawn)] if drawn else []), table]
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def _list(values: xr.DataArray) -> str:
    return ", ".join(f"{x:g}" for x in np.asarray(values.values))


studies = {name: schema.read(DATA / f"{name}.nc", "study") for name in TITLES if (DATA / f"{name}.nc").exists()}
outcomes = np.concatenate([study.outcome.values for study in studies.values()])
counts = {word: int((outcomes == word).sum()) for word in schema.OUTCOMES}
head = f"""# Findings

What the literature says about linear mode connectivity, tried again at a size that a laptop can do: MLPs and a small
CNN on the first images of MNIST, SGD, three to five seeds each. Of {len(outcomes)} claims, {counts["reproduced"]} show
here, {counts["not reproduced"]} do not, and {counts["undecided"]} stay undecided. Everything on this page is written by
`python analyses/40_findings.py` from the results in `data/`; `make analyses` makes those again, `make figures` draws
them. Intervals are 95% over the draw of the runs: the node bootstrap where pairs share models, Student's where
runs are independent, over examples for the counterexample. A claim is reproduced where its interval lies wholly on the
literature's side; a published number, where the estimate is within a factor of 2 of it. Small networks on an easy
task: what does not show here may show elsewhere, and the other way round.
"""
paragraphs = "\n\n".join(textwrap.fill(part, 120) for part in head.strip().split("\n\n")[1:])
PAGE.write_text(
    "\n\n".join(["# Findings", paragraphs, *(section(name, study) for name, study in studies.items())]) + "\n"
)
print(f"wrote {PAGE}: {counts}")
