"""The main job in one call: align B to A in several ways, measure each path, return one dataset."""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from lmc import schema
from lmc._errors import UsageError, did_you_mean
from lmc._methods import ALIGNMENTS, load_methods
from lmc._types import StateDict
from lmc.alignment import AbstractAlignment, Identity, align
from lmc.architectures import fit_state
from lmc.barriers import check_adaptive, check_further, measure_adaptive, measure_barrier
from lmc.barriers.repaired import refuse_both
from lmc.checkpoints import Checkpoint
from lmc.datasets import AbstractData, as_data
from lmc.pipeline import soft
from lmc.pipeline.align_data import check_apart
from lmc.pipeline.cite import citations_of
from lmc.pipeline.kept import Alignment, kept_alignment
from lmc.pipeline.other_widths import other_end, own_losses
from lmc.pipeline.prove import Proof, prove
from lmc.pipeline.routes import Route, state_of
from lmc.symmetry.widths import with_widths
from lmc.units import WorkFolder

Align = str | AbstractAlignment | Sequence[str | AbstractAlignment]


def barrier(
    model: nn.Module,
    state_a: StateDict | Checkpoint | nn.Module,
    state_b: StateDict | Checkpoint | nn.Module,
    data: Any,
    *,
    align: Align = ("none", "weights"),
    path: str = "linear",
    only: str | Sequence[str] = (),
    via: Any = (),
    align_data: Any = None,
    example_inputs: Tensor | Sequence[Any] | None = None,
    proof: Proof | None = None,
    adaptive: bool = False,
    seed: int = 0,
    attrs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Measure the barrier between two networks, before and after alignment.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture; its own weights do not matter, and it is left as it is.
    state_a, state_b : mapping of str to Tensor, Checkpoint or Module
        The two solutions; never modified. B may have other widths where every alignment takes them (``align="ot"``): a
        row follows B in A's shapes, and says whether that is still B's function where ``state_b`` is a Module.
    data : (x, y), Dataset, DataLoader, iterable of batches, or AbstractData
        Examples to measure on. What does not fit in memory is streamed, once per chunk of positions.
    align : str, AbstractAlignment, or sequence of them
        One row of the result each: ``"none"``, ``"weights?restarts=4"``, ``WeightMatching(restarts=4)``.
    path : {"linear", "spherical"}
        Straight from A to B, or along the arc of :class:`lmc.SphericalPath`; buffers move on the line in both.
    only : str or sequence of str, optional
        Modules or tensors that move, after alignment (``"layer3"``); the rest stays at A, the other end is A with these
        parts of B, and inputs are scaled for A all along.
    via : sequence of mappings, Checkpoints or Modules, optional
        Further networks that the path runs through in straight lines, each of an equal share of t; every one is aligned
        to A as B is.
    align_data : as data, optional
        Examples for alignments that need them; other ones than ``data``.
    example_inputs : Tensor or sequence, optional
        Inputs for finding and proving the symmetries; by default the first two examples.
    proof : Proof, optional
        Symmetries that were found and proved already, from :func:`lmc.pipeline.prove`.
    adaptive : bool
        Decide only whether the barriers are below a ``tolerance``, with as few evaluations as it takes.
    seed : int
        Seed of alignments that do not name one, and of the bootstrap.
    attrs : mapping, optional
        Provenance to store with the result.
    **settings
        As in :func:`lmc.measure_barrier`: ``points``, ``t``, ``loss``, ``recalibrate``, ``repair`` and more; or as in
        :func:`lmc.measure_adaptive`: ``tolerance``, ``metric`` and more.

    Returns
    -------
    xarray.Dataset
        Kind "barrier" of the schema: curves, barriers against the chord and the mean end, 95% intervals. Kind
        "adaptive" where that was asked for.

    Raises
    ------
    MismatchError
        If a state dict does not fit the network.
    SymmetryError
        If the symmetries cannot be proved; nothing is aligned then.
    UsageError
        For an unknown alignment or setting, with the nearest known one.

    Examples
    --------
    >>> import torch, lmc
    >>> mlp = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> x, y = torch.randn(64, 4), torch.randint(2, (64,))
    >>> result = lmc.barrier(mlp(), mlp().state_dict(), mlp().state_dict(), (x, y), points=5)
    >>> dict(result.loss.sizes)
    {'alignment': 2, 't': 5}
    """
    measure = measure_adaptive if adaptive else measure_barrier
    _check_settings(model, settings, measure)
    methods = resolve_alignments(align, seed)
    route = Route.of(path, only, via)
    measured = as_data(data)
    aligning = None if align_data is None else as_data(align_data, name="alignment data", split="train")
    if aligning is not None:
        check_apart(aligning, measured)
    if adaptive:
        check_adaptive(measured, **settings)
    check_further(settings.get("also", ()), measured.task)
    a = fit_state(state_of(state_a, "state_a"), model, "state_a")
    b, between_widths = other_end(state_of(state_b, "state_b"), model, methods)
    route = route.fitted(model, a, a if between_widths else b)  # what is carried has A's shapes
    schema.check_attrs(schema.sanitize_attrs(attrs or {}))
    if proof is None and any(not isinstance(method, Identity) for method in methods.values()):
        proof = prove(model, first_examples(measured) if example_inputs is None else example_inputs)
    if between_widths and proof is not None and with_widths(proof.spec, b) is None:
        fit_state(b, model, "state_b")
    points = (*route.via, b)
    module_b = state_b if between_widths and isinstance(state_b, nn.Module) else None
    given = {"data": aligning, "module": model, "work": WorkFolder.of(settings.get("work")), "module_b": module_b}
    passed = [align_all(methods, a, point, proof, **given) for point in points]
    results = passed[-1]
    paths = soft.all_paths(methods, points, passed, lambda moved: route.between(model, a, moved))
    dataset = measure(
        model,
        paths,
        measured,
        seed=seed,
        objectives=soft.objectives(results),
        seconds_align={
            soft.row_of(name, result): sum(sum(found[name].seconds.values()) for found in passed)
            for name, result in results.items()
        },
        attrs={**provenance(results, proof), **route.attrs(), **(attrs or {})},
        **route.scaling(settings),
    )
    route.label(dataset)
    # A hybrid is no B, and an adaptive path keeps no losses of its end to hold against B's.
    own = None if module_b is None or route.only or adaptive else own_losses(module_b, measured, settings)
    messages = soft.messages(dataset, results, own)
    variable = schema.BARRIER["alignment_message"]
    labels = {"long_name": variable.long_name, "units": variable.units}
    return dataset.assign(alignment_message=("alignment", np.array(messages, dtype=str), labels))


def _check_settings(
    model: nn.Module, settings: Mapping[str, Any], measure: Callable[..., xr.Dataset] = measure_barrier
) -> None:
    """Refuse what the measurement would, before anything is aligned."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is a {type(model).__name__}: pass a module, such as lmc.resolve('mlp', ...).module.")
    known = inspect.signature(measure).parameters
    for name in settings:
        if name not in known:
            how = " with adaptive=True" if measure is measure_adaptive else ""
            raise UsageError(f"lmc.barrier has no setting {name!r}{how}.{did_you_mean(name, known)}")
    if not isinstance(settings.get("dtype", torch.float32), torch.dtype):
        raise UsageError(f"dtype is {settings['dtype']!r}: pass torch.float32 or the like.")
    if settings.get("loss") is not None and not callable(settings["loss"]):
        raise UsageError(
            f"loss is {settings['loss']!r}: pass a function of outputs and targets, one value per example."
        )
    if not isinstance(settings.get("points", 2), int):
        raise UsageError("points is how many positions there are; pass positions of your own as t=[0, ..., 1].")
    for name, use in (("recalibrate", "reset on"), ("repair", "measured on")):
        if isinstance(settings.get(name), bool):
            raise UsageError(f"{name} takes the training data that statistics are {use}, such as (x_train, y_train).")
    refuse_both(settings.get("recalibrate"), settings.get("repair"))


def resolve_alignments(align: Align, seed: int = 0) -> dict[str, AbstractAlignment]:
    """Turn what the user asked for into methods, each under the name its row gets.

    Raises
    ------
    UsageError
        For an unknown method or option, or one method asked for twice.
    """
    if not isinstance(align, (str, AbstractAlignment, Sequence)):
        raise UsageError(f"align is {align!r}: pass 'weights', WeightMatching(restarts=4), or a list of such.")
    asked = [align] if isinstance(align, (str, AbstractAlignment)) else list(align)
    methods = load_methods(asked, ALIGNMENTS, "alignment", repr, seed=seed)
    if not methods:
        raise UsageError("At least one alignment is needed; 'none' measures the plain path.")
    return methods


def align_all(
    methods: Mapping[str, AbstractAlignment],
    a: StateDict,
    b: StateDict,
    proof: Proof | None,
    *,
    data: AbstractData | None = None,
    module: nn.Module | None = None,
    module_b: nn.Module | None = None,
    work: WorkFolder | None = None,
) -> dict[str, Alignment]:
    """Run every method that moves anything; what a folder has is taken from there."""
    if proof is None:
        return {}
    found: dict[str, Alignment] = {}
    for name, method in methods.items():
        if isinstance(method, Identity):
            continue
        seen = {"data": data if method.needs == "data" else None, "module": module if method.needs != "none" else None}
        seen |= {"module_b": module_b} if module_b is not None and method.needs != "none" else {}
        run = partial(align, a, b, proof.spec, method=method, **seen)
        found[name] = kept_alignment(run, (method, seen), a, b, proof.spec, work)
    return found


def provenance(results: Mapping[str, Alignment], proof: Proof | None) -> dict[str, Any]:
    """Return what was aligned, how, and how the symmetries were proved, as attributes."""
    found: dict[str, Any] = {
        "alignments": {name: result.method for name, result in results.items()},
        "citations": citations_of(result.method for result in results.values()),
        "versions": dict(_versions()),
        "threads": torch.get_num_threads(),
    }
    if proof is not None:
        found |= {
            "symmetry_groups": len(proof.spec.groups),
            "symmetry_units": proof.spec.units,
            "symmetry_error": proof.verification.error,
            "symmetry_control": proof.verification.control,
        }
    return found


@functools.cache
def _versions() -> Mapping[str, str]:
    return {name: importlib.metadata.version(name) for name in ("lmc", "torch", "numpy", "scipy", "xarray")}


def first_examples(data: AbstractData) -> tuple[Tensor, ...]:
    """Return two examples, normalised, without reading more of the data than it takes."""
    inputs, _ = next(iter(data.batches(2)))
    return (inputs if data.normalization is None else data.normalization(inputs),)
