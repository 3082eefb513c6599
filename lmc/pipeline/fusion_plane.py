"""The plane of a fusion: two networks, the second one permuted by the coupling, and the fused network on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr
from torch import Tensor, nn

from lmc import schema
from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.architectures import fit_state
from lmc.barriers import measure_basin
from lmc.checkpoints import Checkpoint
from lmc.datasets import as_data
from lmc.fusion import AbstractFusion, FusionResult, fuse
from lmc.interpolation import Plane
from lmc.pipeline.align_data import check_apart
from lmc.pipeline.compare import first_examples, provenance
from lmc.pipeline.planes import check_settings
from lmc.pipeline.prove import Proof, prove
from lmc.pipeline.routes import state_of
from lmc.symmetry import PermutationSpec

MODES = ("A", "B", "B permuted", "fused")
"""The modes of the plane of a fusion."""


def fusion_plane(
    model: nn.Module,
    states: Sequence[StateDict | Checkpoint | nn.Module],
    data: Any,
    *,
    method: str | AbstractFusion = "wb",
    mix: Sequence[float] | None = None,
    train_data: Any = None,
    example_inputs: Tensor | Sequence[Any] | None = None,
    proof: Proof | None = None,
    result: FusionResult | None = None,
    seed: int = 0,
    attrs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Measure the basins of the plane through two networks and the second one permuted, the fused network marked.

    Where the coupling is a permutation and the fused network the mean along it, it lies in the plane half-way between A
    and the permuted B; elsewhere its nearest point is marked, and the attribute ``fused_distance`` says how far it is.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture; left as it is.
    states : two state dicts, Checkpoints or Modules
        The networks; never modified.
    data : as data
        Examples to measure on.
    method : str or AbstractFusion
        A method that finds couplings: ``wb``, ``gwb``, ``align-then-average``.
    mix : sequence of float, optional
        Shares of the two.
    train_data : as data, optional
        Examples for the method; other ones than ``data``.
    example_inputs : Tensor or sequence, optional
        Inputs for finding the symmetries; by default the first two examples.
    proof : Proof, optional
        Symmetries that were proved already.
    result : FusionResult, optional
        Of these two networks, in place of fusing them here.
    seed : int
        Of the method and of the bootstrap.
    attrs : mapping, optional
        Provenance to store.
    **settings
        As in :func:`lmc.measure_basin`: ``resolution``, ``margin`` and more.

    Returns
    -------
    xarray.Dataset
        Kind "basin" of the schema, with the modes A, B, B permuted and fused.

    Raises
    ------
    UsageError
        If there are not two networks of one width, or the method finds no coupling.
    MismatchError
        If the three networks lie on one line, as they do where the coupling moves nothing.
    """
    check_settings("lmc.fusion_plane", settings)
    if len(states) != 2:
        raise UsageError(f"The plane of a fusion goes through two networks and a permuted one; got {len(states)}.")
    a, b = (fit_state(state_of(state, name), model, name) for state, name in zip(states, "AB", strict=True))
    measured = as_data(data)
    training = None if train_data is None else as_data(train_data, name="training data", split="train")
    if training is not None:
        check_apart(training, measured, who="fusion", of="the networks are")
    schema.check_attrs(schema.sanitize_attrs(attrs or {}))
    if proof is None:
        proof = prove(model, first_examples(measured) if example_inputs is None else example_inputs)
    if result is None:
        options = {"method": method, "mix": mix, "data": training, "modules": model, "seed": seed}
        result = fuse([a, b], proof.spec, **options)
    permuted, fused = in_order_of_first(result, proof.spec, b)
    fused = fit_state(fused, model, "the fused network")
    parameters = [name for name, _ in model.named_parameters()]
    plane = Plane.through(a, b, permuted, names=MODES[:3], parameters=parameters)
    about = {
        **provenance({}, proof),
        "fusion": result.method,
        "citations": {result.method.partition("?")[0]: result.citation} if result.citation else {},
        "fusion_message": result.message,
        "mix": list(result.mix),
        "fused_distance": plane.project(fused)[2],
        **(attrs or {}),
    }
    plane = plane.marked(MODES[3], fused)
    return measure_basin(model, plane, measured, copies={MODES[2]: MODES[1]}, seed=seed, attrs=about, **settings)


def in_order_of_first(
    result: FusionResult, spec: PermutationSpec, second: StateDict
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the second network permuted as its coupling says, and the fused one, in the order of the first's units.

    A barycenter may have an order of its own; that of the first network is undone in both.

    Raises
    ------
    UsageError
        If the result has no couplings or other widths.
    """
    if result.widths != {group.name: group.size for group in spec.groups}:
        raise UsageError("The plane of a fusion needs the fused network in the widths of the two it was made of.")
    back = spec.inverse(result.permutation(0))
    moved = spec.apply(second, spec.compose(result.permutation(1), back))
    return moved, spec.apply(result.state, back)
