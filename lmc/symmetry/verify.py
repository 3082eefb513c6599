"""Proof at run time: permute everything and the function stays, break one axis and it does not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lmc._types import Permutation
from lmc.symmetry.export import Exported, export, in_float64, run
from lmc.symmetry.spec import PermutationSpec

TOLERANCE = 1e-10
"""Largest relative change of the outputs, in float64, that an intact permutation may cause."""

SENSITIVITY = 1e-6
"""Smallest relative change that breaking one axis must cause, or the check could not have seen an error."""

MARGIN = 1e4
"""A broken axis must also change the outputs this many times more than the intact permutation does."""


@dataclass(frozen=True)
class Verification:
    """Verdict on a permutation spec.

    Parameters
    ----------
    ok : bool
        Whether the spec preserves the function and the check could have noticed if it did not.
    error : float
        Relative change of the outputs, in float64, when all groups are permuted at once.
    control : float
        Smallest relative change over the groups when one axis of theirs is left behind; infinite without groups.
    inert : tuple of str
        Axes that were broken without any effect: nothing the outputs depend on.
    guilty : tuple of str
        Groups that change the function when permuted alone.
    message : str
        The verdict in one sentence.
    seconds : float
        Time it took.
    """

    ok: bool
    error: float
    control: float
    inert: tuple[str, ...]
    guilty: tuple[str, ...]
    message: str
    seconds: float


def verify(
    spec: PermutationSpec,
    model: nn.Module,
    example_inputs: Sequence[Any] | Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    breaks: int | None = 12,
    seed: int = 0,
) -> Verification:
    """Prove that permuting the groups of a spec leaves a network's function alone.

    The network is run in float64 on redrawn weights, since the given ones may hide errors: default BatchNorm
    statistics, heads that start at zero. All groups are permuted at once; then, as a control, single axes are left
    behind, which must show.

    Parameters
    ----------
    spec : PermutationSpec
        What is to be proved.
    model : torch.nn.Module
        The architecture; left as it is.
    example_inputs, example_kwargs
        Inputs of ``forward``.
    breaks : int, optional
        How many axes are broken, at least one per group while they last; None breaks every axis of every group.
    seed : int
        Seed of the redrawn weights, the inputs and the permutation.

    Returns
    -------
    Verification
        With ``ok`` and ``error``.
    """
    start = time.perf_counter()
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    exported = spec.exported or export(model, inputs, example_kwargs)
    network = _Network(spec, exported, seed)
    reference = network.outputs({})
    problem = _degenerate(reference)
    if problem:
        return Verification(False, float("nan"), float("nan"), (), (), problem, time.perf_counter() - start)
    permutation = _moving(spec, seed)
    error = _change(reference, network.outputs(permutation))
    if not error <= TOLERANCE:
        guilty = tuple(
            g for g in permutation if not _change(reference, network.outputs({g: permutation[g]})) <= TOLERANCE
        )
        message = f"permuting {', '.join(guilty[:3]) or 'all groups at once'} changes the outputs by {error:.1e}"
        return Verification(False, error, float("nan"), (), guilty, message, time.perf_counter() - start)
    control, inert = _control(spec, network, reference, permutation, breaks, max(SENSITIVITY, MARGIN * error))
    silent = [group.name for group in spec.groups if control.get(group.name, 1.0) <= max(SENSITIVITY, MARGIN * error)]
    lowest = min(control.values(), default=float("inf"))
    message = f"outputs change by {error:.0e}" if not silent else f"breaking {', '.join(silent[:3])} was not noticed"
    return Verification(not silent, error, lowest, inert, (), message, time.perf_counter() - start)


def _moving(spec: PermutationSpec, seed: int) -> dict[str, Any]:
    """Draw a permutation that moves at least one unit of every group (a random one of two units may not)."""
    permutation = spec.random(seed)
    still = {group.name for group in spec.groups if np.array_equal(permutation[group.name], group.identity())}
    return {name: np.flip(perm, -1).copy() if name in still else perm for name, perm in permutation.items()}


def _control(
    spec: PermutationSpec,
    network: _Network,
    reference: list[Tensor],
    permutation: Permutation,
    breaks: int | None,
    threshold: float,
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Leave single axes behind; return the largest change seen per group tried, and the axes without effect."""
    largest: dict[str, float] = {}
    inert = []
    tried = 0
    for name, axis in _axes_to_break(spec):
        if breaks is not None and tried >= breaks and largest.get(name, 1.0) > threshold:
            continue
        if breaks is not None and largest.get(name, 0.0) > threshold:
            continue
        change = _change(reference, network.outputs(permutation, left_behind=(name, axis.param, axis.dim)))
        tried += 1
        largest[name] = max(change, largest.get(name, 0.0))
        if change <= threshold:
            inert.append(f"{axis.param}[{axis.dim}]")
    return largest, tuple(inert)


def _axes_to_break(spec: PermutationSpec) -> Iterator[tuple[str, Any]]:
    """Go round the groups, spread over the network, so that a few breaks reach many of them."""
    # A group in one axis alone (rows that are averaged) has nothing to fall out of step with.
    breakable = [group for group in spec.groups if len(group.axes) > 1]
    for turn in range(max((len(group.axes) for group in breakable), default=0)):
        for group in breakable:
            if turn < len(group.axes):
                yield group.name, group.axes[turn]


class _Network:
    """The exported graph on redrawn weights in float64."""

    def __init__(self, spec: PermutationSpec, exported: Exported, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        moved = {axis.param for group in spec.groups for axis in group.axes}
        self._spec = spec
        self._graph = in_float64(exported.graph_module)
        self._inputs = exported.inputs
        self._aliases = exported.aliases
        self._drawn: dict[str, Any] = {}
        for one in exported.inputs:
            name = exported.aliases.get(one.name, one.name)
            if name not in self._drawn:
                self._drawn[name] = _redraw(one.kind, name, one.value, name in spec.buffers, name in moved, generator)

    def outputs(self, permutation: Permutation, left_behind: tuple[str, str, int] | None = None) -> list[Tensor]:
        """Run the network with its weights permuted, all but one axis of one group."""
        feed: dict[str, Any] = {}
        for name, value in self._drawn.items():
            if isinstance(value, Tensor) and name in self._spec.shapes:
                spared = (left_behind[0], left_behind[2]) if left_behind and left_behind[1] == name else None
                value = self._spec.permute(name, value, permutation, spared)
            feed[name] = value
        return run(self._graph, [feed[self._aliases.get(one.name, one.name)] for one in self._inputs])


def _redraw(kind: str, name: str, value: Any, buffer: bool, moved: bool, generator: torch.Generator) -> Any:
    """Draw a tensor anew, of a size that keeps signals alive through depth; integers and constants stay."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    value = value.detach().to("cpu", torch.float64)
    if kind == "constant" or (buffer and not moved and not _default(value)):
        return value  # masks and tables say how to compute

    def normal() -> Tensor:
        return torch.randn(value.shape, generator=generator, dtype=torch.float64)

    if kind == "input":
        return normal()
    if value.dim() >= 2:
        return normal() * (2.0 / max(1, value.numel() // value.shape[0])) ** 0.5
    if name.rsplit(".", 1)[-1] in _POSITIVE:
        return 0.5 + torch.rand(value.shape, generator=generator, dtype=torch.float64)
    return 0.3 * normal()


_POSITIVE = {"weight", "running_var", "scale", "gamma"}
"""Last names of one-dimensional tensors that scale or are variances: drawn between 0.5 and 1.5."""


def _default(value: Tensor) -> bool:
    """Say whether a buffer is one finite number everywhere, as running statistics are before training."""
    return value.numel() > 1 and bool(torch.isfinite(value).all()) and bool((value == value.flatten()[0]).all())


def _degenerate(outputs: list[Tensor]) -> str:
    if not outputs:
        return "the network returns no floating-point tensor, so nothing can be checked"
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        return "the outputs on redrawn weights are not finite, so nothing can be checked"
    if all(
        output.numel() == 0 or float(output.std(correction=0)) <= 1e-12 * float(output.abs().max())
        for output in outputs
    ):
        return "the outputs on redrawn weights are constant, so nothing can be checked"
    return ""


def _change(reference: list[Tensor], outputs: list[Tensor]) -> float:
    """Return the largest difference relative to the spread of the output it occurs in."""
    worst = 0.0
    for before, after in zip(reference, outputs, strict=True):
        if before.numel():
            scale = max(float(before.std(correction=0)), float(before.abs().mean()), 1e-300)
            worst = max(worst, float((before - after).abs().max()) / scale)
    return worst
