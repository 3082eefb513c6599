"""Proof at run time: permute everything and the function stays, break one axis and it does not."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lmc._errors import SymmetryError
from lmc._types import Permutation
from lmc.symmetry.export import export, twin
from lmc.symmetry.redraw import Redrawn, RedrawnModule, RedrawnNetwork, fill
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
        Axes that were broken without effect: the outputs do not depend on them, or not on their order.
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
    statistics, heads that start at zero. All groups are permuted at once, in the traced graph to full precision and in
    the module itself; then, as a control, single axes are left behind, which must show.

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
    verdict = _Verdict(spec, start)
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        return verdict.refuse("the weights are on the meta device, so the network cannot be run: structure only")
    draw = _drawer(spec, model, inputs, example_kwargs or {})
    permutations = [_moving(spec, seed + number) for number in range(_DRAWS)]
    # Deep networks multiply rounding by many orders on some weights and hardly on others: what may be rounding is
    # looked at again on other weights, where a wrong axis would show as well.
    for attempt in range(_ATTEMPTS):
        network, problem = _usable_network(draw, seed + 1000 * attempt)
        if problem:
            return verdict.refuse(problem)
        reference = network.outputs({})
        error = max((_change(reference, network.outputs(one)) for one in permutations), default=0.0)
        if error <= TOLERANCE:
            break
    if not error <= TOLERANCE:
        guilty = _guilty(network, reference, permutations)
        return verdict.refuse(
            f"permuting {', '.join(guilty[:3]) or 'all groups at once'} changes the outputs by {error:.1e}",
            error,
            guilty,
        )
    problem = _module_differs(spec, model, inputs, example_kwargs or {}, network, permutations[0])
    if problem:
        return verdict.refuse(problem, error)
    threshold = max(SENSITIVITY, MARGIN * error)
    control, inert = _control(spec, network, reference, permutations[0], breaks, threshold)
    # What moves nothing at all is dead or tied without need; what moves too little could have hidden an error.
    silent = [name for name, change in control.items() if TOLERANCE < change <= threshold]
    seen = min((change for change in control.values() if change > threshold), default=float("inf"))
    if silent:
        return verdict.refuse(f"breaking {', '.join(silent[:3])} was not noticed", error, control=seen, inert=inert)
    return verdict.accept(error, seen, inert)


_DRAWS = 3
_ATTEMPTS = 5


@dataclass(frozen=True)
class _Verdict:
    """Makes the result, with the time it took."""

    spec: PermutationSpec
    start: float

    def refuse(
        self,
        message: str,
        error: float = float("nan"),
        guilty: tuple[str, ...] = (),
        control: float = float("nan"),
        inert: tuple[str, ...] = (),
    ) -> Verification:
        return Verification(False, error, control, inert, guilty, message, time.perf_counter() - self.start)

    def accept(self, error: float, control: float, inert: tuple[str, ...]) -> Verification:
        took = time.perf_counter() - self.start
        return Verification(True, error, control, inert, (), f"outputs change by {error:.0e}", took)


def _drawer(
    spec: PermutationSpec, model: nn.Module, inputs: tuple, kwargs: Mapping[str, Any]
) -> Callable[..., Redrawn]:
    """Return what draws a network anew: its graph, or the module itself where it cannot be traced."""
    try:
        exported = spec.exported or export(model, inputs, kwargs)
    except SymmetryError:
        return functools.partial(RedrawnModule, spec, model, (inputs, dict(kwargs)))
    return functools.partial(RedrawnNetwork, spec, exported)


def _usable_network(draw: Callable[..., Redrawn], seed: int) -> tuple[Redrawn, str]:
    """Draw weights on which the network says something: finite, repeatable, and not the same on other weights."""
    network = draw(seed)
    outputs = network.outputs({})
    if not _finite(outputs):  # a variance or a scale under another name: keep what the weights have for signs
        network = draw(seed, near=True)
        outputs = network.outputs({})
    if not outputs:
        return network, "the network returns no floating-point tensor, so nothing can be checked"
    if not _finite(outputs):
        return network, "the outputs on redrawn weights are not finite, so nothing can be checked"
    if _change(outputs, network.outputs({})) > 0:
        return network, "the outputs differ from one run to the next (dropout or noise in the graph)"
    if _change(outputs, draw(seed + 1, near=network.near, inputs_seed=seed).outputs({})) <= SENSITIVITY:
        return network, "the outputs are constant, whatever the weights, so nothing can be checked"
    return network, ""


def _guilty(network: Redrawn, reference: list[Tensor], draws: Sequence[Permutation]) -> tuple[str, ...]:
    """Return the groups that change the function when permuted alone."""
    return tuple(
        name
        for name in draws[0]
        if any(not _change(reference, network.outputs({name: draw[name]})) <= TOLERANCE for draw in draws)
    )


def _module_differs(
    spec: PermutationSpec,
    model: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    network: Redrawn,
    permutation: Permutation,
) -> str:
    """Hold the module itself to the graph's claim, on the given inputs: a graph may be special to others.

    Casts inside the module limit the precision here; the graph has been held to the full tolerance.
    """
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    for dtype in dict.fromkeys((torch.float64, torch.float32, own)):
        try:
            copied = twin(model).eval().to(dtype)
            feed = tree_map(functools.partial(_cast, dtype=dtype), (tuple(inputs), dict(kwargs)))
            before, after = (_outputs(copied, network.state(p), feed) for p in ({}, permutation))
        except Exception:  # a module that insists on its own type
            continue
        change = _change(before, after)
        if change <= max(_MODULE_TOLERANCE, 16 * torch.finfo(dtype).eps):
            return ""
        return f"the module itself changes by {change:.1e} on these inputs: its graph is not all that it does"
    return "the module could not be run on these inputs"


_MODULE_TOLERANCE = 1e-3


def _cast(one: Any, dtype: torch.dtype) -> Any:
    return one.to("cpu", dtype) if isinstance(one, Tensor) and one.is_floating_point() else one


def _outputs(module: nn.Module, state: Mapping[str, Tensor], feed: tuple[tuple, dict]) -> list[Tensor]:
    fill(module, state)
    with torch.no_grad():
        outputs = module(*feed[0], **feed[1])
    return [one for one in tree_leaves(outputs) if isinstance(one, Tensor) and one.is_floating_point()]


def _moving(spec: PermutationSpec, seed: int) -> dict[str, Any]:
    """Draw a permutation that moves something in every block of every group, and differently in most."""
    rng = np.random.default_rng(seed)
    moved = {}
    for group in spec.groups:
        rows = [_other_row(rng, group.size) for _ in range(group.blocks)]
        moved[group.name] = np.stack(rows) if group.over else rows[0]
    return moved


def _other_row(rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    row = rng.permutation(size)
    return row if (row != np.arange(size)).any() else np.roll(row, 1)


def _control(
    spec: PermutationSpec,
    network: Redrawn,
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


def _finite(outputs: Sequence[Tensor]) -> bool:
    return all(bool(torch.isfinite(output).all()) for output in outputs)


def _change(reference: list[Tensor], outputs: list[Tensor]) -> float:
    """Return the largest difference relative to the spread of the output it occurs in."""
    worst = 0.0
    for before, after in zip(reference, outputs, strict=True):
        if before.numel():
            scale = max(float(before.std(correction=0)), float(before.abs().mean()), 1e-300)
            change = float((before - after).abs().max()) / scale
            worst = change if math.isnan(change) else max(worst, change)
    return worst
