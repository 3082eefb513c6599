"""A network on weights drawn anew, in float64: what is proved on them does not hang on the weights given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lmc._types import Permutation
from lmc.symmetry.export import Exported, in_float64, run, twin
from lmc.symmetry.spec import PermutationSpec


class Redrawn(Protocol):
    """A network on redrawn weights in float64."""

    near: bool
    """Whether the weights stayed about what they were."""

    def outputs(self, permutation: Permutation, left_behind: tuple[str, str, int] | None = None) -> list[Tensor]:
        """Run the network with its weights permuted, all but one (group, param, dim)."""
        ...

    def state(self, permutation: Permutation) -> dict[str, Tensor]:
        """Return the redrawn weights, permuted, under every name of the state dict."""
        ...


class RedrawnModule:
    """A module that cannot be traced, on redrawn weights: it is run itself, casts and all."""

    def __init__(
        self,
        spec: PermutationSpec,
        model: nn.Module,
        feed: tuple[tuple, dict[str, Any]],
        seed: int,
        *,
        near: bool = False,
        inputs_seed: int | None = None,
    ) -> None:
        self.near = near
        generator = torch.Generator().manual_seed(seed)
        for_inputs = generator if inputs_seed is None else torch.Generator().manual_seed(inputs_seed)
        moved = {axis.param for group in spec.groups for axis in group.axes}
        self._spec = spec
        self._module = twin(model).cpu().eval().double()
        self._feed = tree_map(lambda one: _normal(one, for_inputs), feed)
        self._drawn = {
            name: _redraw(name, value, name in spec.buffers and name not in moved, near, generator)
            for name, value in self._module.state_dict().items()
            if name not in spec.aliases
        }

    def outputs(self, permutation: Permutation, left_behind: tuple[str, str, int] | None = None) -> list[Tensor]:
        """Run the module with its weights permuted, all but one (group, param, dim)."""
        fill(self._module, self._permuted(permutation, left_behind))
        with torch.no_grad():
            found = tree_leaves(self._module(*self._feed[0], **self._feed[1]))
        return [one.clone() for one in found if isinstance(one, Tensor) and one.is_floating_point()]

    def state(self, permutation: Permutation) -> dict[str, Tensor]:
        """Return the redrawn weights, permuted, under every name of the state dict."""
        return self._permuted(permutation, None)

    def _permuted(self, permutation: Permutation, left_behind: tuple[str, str, int] | None) -> dict[str, Tensor]:
        found = {}
        for name in self._spec.shapes:
            known = self._spec.aliases.get(name, name)
            spared = (left_behind[0], left_behind[2]) if left_behind and left_behind[1] == known else None
            found[name] = self._spec.permute(known, self._drawn[known], permutation, spared)
        return found


class RedrawnNetwork:
    """The exported graph on redrawn weights."""

    def __init__(
        self,
        spec: PermutationSpec,
        exported: Exported,
        seed: int,
        *,
        near: bool = False,
        inputs_seed: int | None = None,
    ) -> None:
        self.near = near
        generator = torch.Generator().manual_seed(seed)
        for_inputs = generator if inputs_seed is None else torch.Generator().manual_seed(inputs_seed)
        moved = {axis.param for group in spec.groups for axis in group.axes}
        self._spec = spec
        self._graph = in_float64(exported.graph_module)
        self._inputs = exported.inputs
        self._aliases = exported.aliases
        self._drawn: dict[str, Any] = {}
        inputs = iter([_normal(one.value, for_inputs) for one in exported.inputs if one.kind == "input"])
        for one in exported.inputs:
            name = exported.aliases.get(one.name, one.name)
            if one.kind == "input":
                self._drawn[name] = next(inputs)
            elif name not in self._drawn:
                stays = one.kind == "constant" or (name in spec.buffers and name not in moved)
                self._drawn[name] = _redraw(name, one.value, stays, near, generator)

    def outputs(self, permutation: Permutation, left_behind: tuple[str, str, int] | None = None) -> list[Tensor]:
        """Run the network with its weights permuted, all but one axis of one group."""
        feed = {**self._drawn, **self._permuted(permutation, left_behind)}
        return run(self._graph, [feed[self._aliases.get(one.name, one.name)] for one in self._inputs])

    def state(self, permutation: Permutation) -> dict[str, Tensor]:
        """Return the redrawn weights, permuted, under every name of the state dict."""
        held = self._permuted(permutation, None)
        return {
            name: held[self._aliases.get(name, name)]
            for name in self._spec.shapes
            if self._aliases.get(name, name) in held
        }

    def _permuted(self, permutation: Permutation, left_behind: tuple[str, str, int] | None) -> dict[str, Tensor]:
        found = {}
        for name, value in self._drawn.items():
            if isinstance(value, Tensor) and name in self._spec.shapes:
                spared = (left_behind[0], left_behind[2]) if left_behind and left_behind[1] == name else None
                found[name] = self._spec.permute(name, value, permutation, spared)
        return found


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load weights into a module, with the versions of its own state dict: some refuse weights without one."""
    versioned = module.state_dict()
    versioned.update(state)
    module.load_state_dict(versioned, strict=False)


def _normal(value: Any, generator: torch.Generator) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return torch.randn(value.shape, generator=generator, dtype=torch.float64)


def _redraw(name: str, value: Any, stays: bool, near: bool, generator: torch.Generator) -> Any:
    """Draw a tensor anew, of a size that keeps signals alive through depth; integers and constants stay.

    With ``near``, sizes and signs stay about what they are: for networks that other numbers would break.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    value = value.detach().to("cpu", torch.float64)
    if stays and not _default(value):
        return value  # masks and tables say how to compute
    if near:
        return value * (0.5 + torch.rand(value.shape, generator=generator, dtype=torch.float64))
    normal = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    if value.dim() >= 2:
        return normal * (2.0 / max(1, value.numel() // value.shape[0])) ** 0.5
    if name.rsplit(".", 1)[-1] in _POSITIVE:
        return 0.5 + torch.rand(value.shape, generator=generator, dtype=torch.float64)
    return 0.3 * normal


_POSITIVE = {"weight", "running_var", "scale", "gamma"}
"""Last names of one-dimensional tensors that scale or are variances: drawn between 0.5 and 1.5."""


def _default(value: Tensor) -> bool:
    """Say whether a buffer is one finite number everywhere, as running statistics are before training."""
    return value.numel() > 1 and bool(torch.isfinite(value).all()) and bool((value == value.flatten()[0]).all())
