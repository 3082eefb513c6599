"""Fusion in one call: symmetries proved, networks fused, and the result beside its parents, on the same examples."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from lmc import schema
from lmc._errors import UsageError
from lmc._methods import FUSIONS, load_methods
from lmc._types import StateDict
from lmc.architectures import fit_state
from lmc.checkpoints import Checkpoint
from lmc.datasets import AbstractData, as_data
from lmc.evaluation.evaluate import Progress
from lmc.fusion import AbstractFusion, FusionResult, VanillaAverage, fuse
from lmc.fusion.problem import check_shares
from lmc.pipeline.align_data import check_apart
from lmc.pipeline.compare import first_examples, provenance
from lmc.pipeline.fusion_dataset import fusion_dataset
from lmc.pipeline.fusion_rows import Workshop
from lmc.pipeline.prove import Proof, prove
from lmc.pipeline.routes import state_of

FINETUNING: Mapping[str, Any] = {"lr": 1e-3, "optimizer": "adam", "batch_size": 64, "schedule": "cosine"}
"""Settings of fine-tuning where none are given; a smaller learning rate than that of training."""


@dataclass(frozen=True, eq=False)
class Fused:
    """What :func:`fusion_table` gives back.

    Parameters
    ----------
    result : FusionResult
        As the method made it.
    state : dict of str to Tensor
        The network that comes out: statistics reset and fine-tuned where that was asked for; empty for an ensemble.
    module : torch.nn.Module
        The network the state is of.
    dataset : xarray.Dataset, optional
        Kind "fusion" of the schema, where there were data to measure on.
    """

    result: FusionResult
    state: dict[str, Tensor]
    module: nn.Module
    dataset: xr.Dataset | None = None


def fusion_table(
    model: nn.Module | Sequence[nn.Module],
    states: Sequence[StateDict | Checkpoint | nn.Module],
    data: Any = None,
    *,
    method: str | AbstractFusion | Sequence[str | AbstractFusion] = "wb",
    mix: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    into: nn.Module | None = None,
    base: StateDict | Checkpoint | nn.Module | None = None,
    train_data: Any = None,
    finetune: int = 0,
    finetuning: Mapping[str, Any] | None = None,
    recalibrate: bool = False,
    example_inputs: Tensor | Sequence[Any] | None = None,
    proofs: Sequence[Proof] | None = None,
    target: Proof | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 1000,
    examples: bool = True,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    attrs: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Fused:
    """Fuse networks, and measure parents, ensembles, the vanilla average, the fused network, and it fine-tuned.

    Parameters
    ----------
    model : torch.nn.Module or sequence of such
        The architecture, or one for each network where widths differ; left as they are.
    states : sequence of state dicts, Checkpoints or Modules
        The networks; never modified.
    data : (x, y), Dataset, DataLoader, iterable of batches, or AbstractData, optional
        Examples to measure on; nothing is measured without.
    method : str, AbstractFusion, or sequence of them
        ``"wb"``, ``"fisher?examples=500"``; of several each gets its rows, and the first one's network is returned.
    mix : sequence of float, optional
        Share of each network; equal by default.
    names : sequence of str, optional
        What the networks are called in the table; 1, 2, ... by default.
    into : torch.nn.Module, optional
        The network to fuse into, where its widths are others than the first one's.
    base : state dict, Checkpoint or Module, optional
        What all networks were fine-tuned from.
    train_data : as data, optional
        Examples for methods that look at some, for fine-tuning and for statistics; other ones than ``data``.
    finetune : int
        Epochs of fine-tuning, for the fused networks and, as a control, for the vanilla average.
    finetuning : mapping, optional
        Settings of :func:`lmc.train` in place of ``FINETUNING``.
    recalibrate : bool
        Reset BatchNorm statistics of every averaged network on ``train_data``; parents keep their own.
    example_inputs : Tensor or sequence, optional
        Inputs for finding and proving the symmetries; by default the first two examples.
    proofs, target : Proof, optional
        Symmetries that were proved already: one for each network, and those of ``into``.
    seed : int
        Of methods that do not name one, of fine-tuning, and of the bootstrap.
    confidence, resamples
        Of the intervals, over examples.
    examples : bool
        Keep the values of single examples in the dataset.
    device, dtype
        Where and in which floating dtype networks are measured.
    attrs : mapping, optional
        Provenance to store.
    progress : callable, optional
        Such as ``tqdm.tqdm``.

    Returns
    -------
    Fused

    Raises
    ------
    UsageError
        For an unknown method or setting; where a method needs training data, a base or equal widths and there are
        none; where training data are those that are measured on.
    MismatchError
        If a state does not fit its network, or the networks do not correspond.
    SymmetryError
        If the symmetries cannot be proved; nothing is fused then.
    """
    methods = resolve_fusions(method, seed)
    modules = [model] * len(states) if isinstance(model, nn.Module) else list(model)
    check_request(methods.values(), len(states), mix, base is not None, train_data is not None, finetune, recalibrate)
    if len(modules) != len(states):
        raise UsageError(f"{len(modules)} networks for {len(states)} state dicts: give one for all, or one for each.")
    named = [str(index + 1) for index in range(len(states))] if names is None else list(names)
    fitted = [
        fit_state(state_of(state, name), module, name)
        for state, module, name in zip(states, modules, named, strict=True)
    ]
    measured = None if data is None else as_data(data)
    training = None if train_data is None else as_data(train_data, name="training data", split="train")
    if training is not None and measured is not None:
        check_apart(training, measured, who="fusion", of="the networks are")
    schema.check_attrs(schema.sanitize_attrs(attrs or {}))
    own = into or modules[0]
    base_state = None if base is None else fit_state(state_of(base, "base"), own, "base")
    given = measured or training
    if proofs is None:
        if example_inputs is None and given is None:
            raise UsageError("Symmetries are found by running the networks: pass example_inputs=, or data.")
        seen = first_examples(given) if example_inputs is None and given is not None else example_inputs
        proofs, target = prove_all(modules, into, seen)
    settings = {**FINETUNING, **(finetuning or {})}
    shop = Workshop(modules, fitted, own, training, finetune, settings, recalibrate, seed, progress)
    options: dict[str, Any] = {"target": (target or proofs[0]).spec, "modules": modules, "module": own}
    options |= {"data": training, "mix": mix, "seed": seed, "base": base_state}
    specs = [proof.spec for proof in proofs]
    made = {name: _timed(one, fitted, specs, options) for name, one in methods.items()}
    finished = {name: shop.finish(name, one.state) for name, (one, _) in made.items() if one.state}
    first = next(iter(made))
    state = list(finished[first].values())[-1] if first in finished else {}
    if measured is None:
        return Fused(made[first][0], state, own)
    shares = check_shares(mix, len(states))
    rows = shop.references(named, shares, measured.task)
    if len(fitted) > 1 and all(spec.shapes == options["target"].shapes for spec in specs) and "vanilla" not in made:
        vanilla, took = _timed(VanillaAverage(), fitted, specs, options)
        rows += shop.rows("vanilla", vanilla, shop.finish("vanilla", vanilla.state), "baseline", took)
    for name, (result, took) in made.items():
        rows += shop.rows(name, result, finished.get(name, {}), "baseline" if name == "vanilla" else "fused", took)
    where = {"device": device, "dtype": dtype}
    found = {row.name: row.measure(measured, where) for row in rows}
    results = {name: result for name, (result, _) in made.items()}
    about = {**provenance({}, proofs[0]), **_described(results, shares, options["target"], training, shop)}
    intervals = {"seed": seed, "confidence": confidence, "resamples": resamples, "examples": examples}
    dataset = fusion_dataset(rows, found, measured, {**about, **(attrs or {})}, where, **intervals)
    return Fused(made[first][0], state, own, dataset)


def _timed(
    method: AbstractFusion, states: Sequence[StateDict], specs: Sequence[Any], options: Mapping[str, Any]
) -> tuple[FusionResult, float]:
    start = time.perf_counter()
    return fuse(states, specs, method=method, **options), time.perf_counter() - start


def resolve_fusions(
    method: str | AbstractFusion | Sequence[str | AbstractFusion], seed: int = 0
) -> dict[str, AbstractFusion]:
    """Turn what the user asked for into methods, each under the name its row gets.

    Raises
    ------
    UsageError
        For an unknown method or option, or one method asked for twice.
    """
    asked = [method] if isinstance(method, (str, AbstractFusion)) else list(method)
    found = load_methods(asked, FUSIONS, "fusion", lambda one: one.reference, seed=seed)
    if not found:
        raise UsageError("At least one method of fusion is needed, 'wb', say.")
    return found


def check_request(
    methods: Any,
    count: int,
    mix: Sequence[float] | None,
    based: bool,
    trained: bool,
    finetune: int,
    recalibrate: bool,
) -> None:
    """Refuse, before any work, what cannot be done with what is given."""
    check_shares(mix, count)
    if isinstance(finetune, bool) or not isinstance(finetune, int) or finetune < 0:
        raise UsageError(f"finetune is a number of epochs from 0 up, not {finetune!r}.")
    for one in methods:
        if one.needs_base and not based:
            raise UsageError(f"Fusion {one.reference!r} starts from what all networks were fine-tuned from: pass base.")
        if one.needs == "data" and not trained:
            raise UsageError(f"Fusion {one.reference!r} looks at examples: pass training data.")
    for wanted, what in ((finetune, "Fine-tuning"), (recalibrate, "Resetting statistics")):
        if wanted and not trained:
            raise UsageError(f"{what} takes examples: pass training data.")


def prove_all(
    modules: Sequence[nn.Module], into: nn.Module | None, inputs: Any, **options: Any
) -> tuple[list[Proof], Proof | None]:
    """Prove the symmetries of every network, once where several are one."""
    known: dict[int, Proof] = {}
    for module in (*modules, *([into] if into is not None else [])):
        if id(module) not in known:
            known[id(module)] = prove(module, inputs, **options)
    return [known[id(module)] for module in modules], None if into is None else known[id(into)]


def _described(
    made: Mapping[str, FusionResult], mix: Sequence[float], target: Any, training: AbstractData | None, shop: Workshop
) -> dict[str, Any]:
    """Say how every network was made, as attributes."""
    found: dict[str, Any] = {
        "methods": {name: result.method for name, result in made.items()},
        "citations": {name: result.citation for name, result in made.items() if result.citation},
        "mix": list(mix),
        "widths": {group.name: group.size for group in target.groups},
        "ratios": {name: result.ratio for name, result in made.items()},
        "warnings": {name: list(result.warnings) for name, result in made.items() if result.warnings},
        "converged": {name: result.converged for name, result in made.items()},
        "recalibrated": "averaged networks, not parents" if shop.resets else "no",
    }
    found |= {} if training is None else {"train_data": training.reference, "train_digest": training.digest}
    return found | ({"finetune": {"epochs": shop.epochs, **shop.settings}} if shop.epochs else {})
