"""A plane and its basins in one call: the third mode of two networks is B, aligned to A."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr
from torch import Tensor, nn

from lmc import schema
from lmc._errors import UsageError, did_you_mean
from lmc._types import StateDict
from lmc.alignment import AbstractAlignment, Identity
from lmc.architectures import fit_state
from lmc.barriers import check_basin, measure_basin
from lmc.checkpoints import Checkpoint
from lmc.datasets import as_data
from lmc.interpolation import Plane
from lmc.pipeline.align_data import check_apart
from lmc.pipeline.compare import align_all, first_examples, provenance, resolve_alignments
from lmc.pipeline.kept import Alignment
from lmc.pipeline.prove import Proof, prove
from lmc.pipeline.routes import state_of
from lmc.units import WorkFolder

ALIGNED = "B aligned"
"""What the third mode of two networks is called."""

_OF_A_PLAN = "; the permutation that the soft plan is rounded to"

_OURS = {"module", "plane", "copies"}  # arguments of measure_basin that are made by who calls it


def basin(
    model: nn.Module,
    states: Sequence[StateDict | Checkpoint | nn.Module],
    data: Any,
    *,
    align: str | AbstractAlignment = "weights",
    align_data: Any = None,
    example_inputs: Tensor | Sequence[Any] | None = None,
    proof: Proof | None = None,
    seed: int = 0,
    attrs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Measure the basins of a plane: of three networks, of two and the aligned copy of the second, or around one.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture; its own weights do not matter, and it is left as it is.
    states : sequence of one to three state dicts, Checkpoints or Modules
        The solutions A, B and C; never modified.
    data : (x, y), Dataset, DataLoader, iterable of batches, or AbstractData
        Examples to measure on.
    align : str or AbstractAlignment
        Of two networks: how B is aligned to A.
    align_data : as data, optional
        Examples that the alignment looks at, other ones than those that are measured on.
    example_inputs : Tensor or sequence, optional
        Inputs for finding and proving the symmetries; by default the first two examples.
    proof : Proof, optional
        Symmetries that were found and proved already.
    seed : int
        Of an alignment that does not name one, of random directions, and of the bootstrap.
    attrs : mapping, optional
        Provenance to store with the result.
    **settings
        As in :func:`lmc.measure_basin`: ``resolution``, ``margin``, ``levels``, ``recalibrate`` and more.

    Returns
    -------
    xarray.Dataset
        Kind "basin" of the schema.

    Raises
    ------
    MismatchError
        If a state dict does not fit the network, or no plane goes through the modes.
    SymmetryError
        If the symmetries cannot be proved; nothing is aligned then.
    UsageError
        For an unknown alignment or setting, or more networks than span a plane.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is a {type(model).__name__}: pass a module, such as lmc.resolve('mlp', ...).module.")
    check_settings("lmc.basin", settings)
    if not 1 <= len(states) <= 3:
        raise UsageError(f"A plane is around one network, or through two or three; got {len(states)}.")
    fitted = [fit_state(state_of(state, name), model, name) for state, name in zip(states, "ABC", strict=False)]
    schema.check_attrs(schema.sanitize_attrs(attrs or {}))
    measured, known = as_data(data), dict(attrs or {})
    aligning = None if align_data is None else as_data(align_data, name="alignment data", split="train")
    if aligning is not None:
        check_apart(aligning, measured)
    parameters = [name for name, _ in model.named_parameters()]
    copies: dict[str, str] = {}
    if len(fitted) == 1:
        plane = Plane.around(fitted[0], seed=seed, parameters=parameters)
        known = {**provenance({}, None), **known}
    elif len(fitted) == 2:
        method = _one_alignment(align, seed)
        if proof is None:
            proof = prove(model, first_examples(measured) if example_inputs is None else example_inputs)
        name, result = _align(
            method, fitted[0], fitted[1], proof, {"data": aligning, "module": model, "work": settings.get("work")}
        )
        plane = Plane.through(
            fitted[0], fitted[1], result.apply(fitted[1]), names=("A", "B", ALIGNED), parameters=parameters
        )
        copies = {ALIGNED: "B"}
        known = {
            **provenance({name: result}, proof),
            "alignment_message": result.message + _OF_A_PLAN * result.soft,
            **known,
        }
    else:
        plane = Plane.through(fitted[0], fitted[1], fitted[2], parameters=parameters)
        known = {**provenance({}, None), **known}
    return measure_basin(model, plane, measured, copies=copies, seed=seed, attrs=known, **settings)


def check_settings(who: str, settings: Mapping[str, Any]) -> None:
    """Refuse what the measurement of a plane would, before anything is aligned or fused."""
    possible = {*inspect.signature(measure_basin).parameters} - _OURS
    for setting in settings:
        if setting not in possible:
            raise UsageError(f"{who} has no setting {setting!r}.{did_you_mean(setting, possible)}")
    checked = inspect.signature(check_basin).parameters
    check_basin(**{name: value for name, value in settings.items() if name in checked})


def _one_alignment(align: str | AbstractAlignment, seed: int) -> dict[str, AbstractAlignment]:
    methods = resolve_alignments(align, seed)
    if len(methods) != 1 or any(isinstance(method, Identity) for method in methods.values()):
        raise UsageError(
            f"align is {align!r}: a plane through A, B and the aligned B needs one alignment that moves B, such as "
            "'weights'. A third network takes its place."
        )
    return methods


def _align(
    methods: Mapping[str, AbstractAlignment], a: StateDict, b: StateDict, proof: Proof, given: dict[str, Any]
) -> tuple[str, Alignment]:
    given["work"] = WorkFolder.of(given["work"])
    return next(iter(align_all(methods, a, b, proof, **given).items()))
