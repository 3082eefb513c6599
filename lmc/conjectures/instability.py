"""Instability to SGD noise: from which step on do children of one parent end up linearly connected."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from lmc import schema
from lmc._errors import UsageError
from lmc.alignment import Identity
from lmc.architectures import resolve
from lmc.conjectures.evidence import Say
from lmc.datasets import AbstractData
from lmc.pipeline import barrier, prove, resolve_alignments
from lmc.pipeline.compare import first_examples
from lmc.training import train_children
from lmc.units import Unit, WorkFolder, code_digest, fingerprint

_CHILDREN_PER_PARENT = 1000


def instability(
    model: str,
    data_train: AbstractData,
    data_test: AbstractData,
    *,
    branch_steps: Sequence[int],
    training: Mapping[str, Any] | None = None,
    children: int = 2,
    seeds: Sequence[int] = (0,),
    align: Sequence[str] = ("none",),
    recalibrate: bool = False,
    points: int = 11,
    work: Any = None,
    attrs: Mapping[str, Any] | None = None,
    say: Say | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Train parents, let children leave them after given steps, and measure the barriers between siblings.

    Parameters
    ----------
    model : str
        Reference of a network; sizes that it leaves open follow the data.
    data_train, data_test : AbstractData
        To train on, held in memory, and to measure on.
    branch_steps : sequence of int
        Steps that siblings share: 0, and they share their initial weights only.
    training : mapping, optional
        Options of :func:`lmc.train`: ``epochs``, ``lr``, ``optimizer`` and more.
    children : int
        Siblings at each branch step, at least 2; all their pairs are measured.
    seeds : sequence of int
        A parent each: its initial weights and its order of examples.
    align : sequence of str
        Alignments of one sibling to the other, a row each.
    recalibrate : bool
        Reset BatchNorm statistics on the training data at every position.
    points : int
        Positions along each path.
    work : WorkFolder or path-like, optional
        Where every parent's results are kept, and found again.
    attrs : mapping, optional
        Provenance to store.
    say : callable, optional
        Takes a line after every parent.
    **settings
        Further ones of :func:`lmc.barrier`.

    Returns
    -------
    xarray.Dataset
        Kind "sweep", a pair of siblings each, with coordinates ``branch_step`` and ``seed`` of the parent along
        ``pair``.

    Raises
    ------
    UsageError
        For a setting that makes no sense, or when training diverges.

    References
    ----------
    .. [1] Frankle, Dziugaite, Roy, Carbin. Linear Mode Connectivity and the Lottery Ticket Hypothesis. ICML 2020.
    """
    if not isinstance(children, int) or not 2 <= children < _CHILDREN_PER_PARENT:
        raise UsageError(f"children={children!r}: at least 2 are needed for a pair.")
    if not seeds or len(set(seeds)) != len(seeds) or any(not isinstance(s, int) or s < 0 for s in seeds):
        raise UsageError(f"seeds={list(seeds)}: name different whole numbers from 0 up, one for each parent.")
    options: dict[str, Any] = {"align": list(align), "points": points, **settings}
    methods = resolve_alignments(list(align)).values()
    if any(method.needs == "data" for method in methods):
        options["align_data"] = data_train
    moves = not all(isinstance(method, Identity) for method in methods)
    if recalibrate:
        options["recalibrate"] = data_train

    def of_parent(seed: int) -> xr.Dataset:
        shape, classes = data_train.input_shape, data_train.num_classes
        network = resolve(model, input_shape=shape, num_classes=classes, seed=seed)
        own = [_CHILDREN_PER_PARENT * (seed + 1) + child for child in range(children)]
        found = train_children(
            network.module, data_train, branch_steps=branch_steps, children=own, seed=seed, **(training or {})
        )
        proof = prove(network.module, first_examples(data_test)) if moves else None
        rows: list[xr.Dataset] = []
        for step in branch_steps:
            siblings = [child for child in found if child.step == step]
            for a, b in itertools.combinations(siblings, 2):
                measured = barrier(network.module, a.state, b.state, data_test, proof=proof, **options)
                rows.append(_row(measured, f"parent {seed}, step {step}, child", a.seed, b.seed))
                rows[-1] = rows[-1].assign_coords(branch_step=("pair", [step]), seed=("pair", [seed]))
        return _joined(rows)

    folder, parts = WorkFolder.of(work), []
    for seed in seeds:
        if folder is None:
            parts.append(of_parent(seed))
        else:
            about = {
                "model": model,
                "seed": seed,
                "given": fingerprint(
                    data_train, data_test, dict(training or {}), children, list(branch_steps), options
                ),
                "code": code_digest(),
            }
            parts += folder.run([(Unit("instability", about), lambda seed=seed: of_parent(seed))])
        if say is not None:
            worst = parts[-1].error_barrier.sel(baseline="mean").isel(alignment=0).groupby("branch_step").max()
            shown = ", ".join(f"{int(k)}: {100 * float(v):.1f}%" for k, v in zip(worst.branch_step, worst, strict=True))
            say(f"parent {seed}: error barrier after shared steps {shown}")
    joined = _joined(parts)
    joined["branch_step"].attrs = {"long_name": "steps that siblings share", "units": "1"}
    joined["seed"].attrs = {"long_name": "seed of the parent", "units": "1"}
    about = {"model": model, "training": dict(training or {}), "children": children, "data": data_train.reference}
    joined.attrs = {}
    return schema.annotate(joined, "sweep", {**about, **(attrs or {})})


def stable_from(result: xr.Dataset, tolerance: float = 0.02, alignment: str | None = None) -> int | None:
    """Return the least branch step from which on the mean error barrier stays under the tolerance, None if none does.

    Parameters
    ----------
    result : xarray.Dataset
        Of :func:`instability`.
    tolerance : float
        A share of the examples: Frankle and others call a network stable under 0.02.
    alignment : str, optional
        The row; the first by default.
    """
    rows = result.error_barrier.sel(baseline="mean")
    row = rows.isel(alignment=0) if alignment is None else rows.sel(alignment=alignment)
    means = row.groupby("branch_step").mean()
    stable = None
    for step, value in sorted(zip(means.branch_step.values.tolist(), means.values.tolist(), strict=True), reverse=True):
        if not value < tolerance:
            break
        stable = int(step)
    return stable


def _joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    whole = xr.concat(list(parts), dim="pair", data_vars="all")
    assert isinstance(whole, xr.Dataset)
    return whole.assign_coords(pair=np.arange(whole.sizes["pair"]))


def _row(measured: xr.Dataset, parent: str, a: int, b: int) -> xr.Dataset:
    """Return a barrier as one row of a sweep."""
    row = measured[[name for name in measured.data_vars if name in schema.SWEEP]]
    row = row.drop_vars([name for name in row.coords if name not in schema.SWEEP]).expand_dims(pair=[0])
    row["a"], row["b"] = ("pair", [f"{parent} {a}"]), ("pair", [f"{parent} {b}"])
    row["status"] = (("pair", "alignment"), np.full((1, row.sizes["alignment"]), "done"))
    row.attrs = {}
    return row
