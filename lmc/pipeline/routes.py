"""Which way a barrier's path takes from A to B: straight or spherical, through further networks, or in parts only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import xarray as xr
from torch import Tensor, nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.architectures import fit_state
from lmc.checkpoints import Checkpoint, check_usable
from lmc.evaluation.engine import check_fits
from lmc.interpolation import AbstractPath, LinearPath, PolygonalPath, SphericalPath, move_only, moved_names
from lmc.pipeline.pair import Pair, read_names, rename, wide

ROUTES = ("linear", "spherical")
"""What ``--path`` takes."""


@dataclass(frozen=True)
class Route:
    """The way from A to B.

    Parameters
    ----------
    path : {"linear", "spherical"}
        Straight lines, or arcs along which every parameter tensor turns; see :class:`lmc.SphericalPath`.
    only : tuple of str
        Modules or tensors that move; the rest stays at A, so that the other end is A with these parts of B, and
        inputs are scaled for A all along. All move where none is named.
    via : tuple of state dicts
        Further networks that the path runs through, in straight lines of an equal share of t each. Every one is
        aligned to A, as B is, so that B's own row is the same as without them.
    sources : tuple of dict
        Provenance of each of ``via``.
    """

    path: str = "linear"
    only: tuple[str, ...] = ()
    via: tuple[StateDict, ...] = ()
    sources: tuple[Mapping[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.path not in ROUTES:
            raise unknown("path", self.path, ROUTES)
        if self.path != "linear" and self.via:
            raise UsageError(f"A path via further networks is made of straight lines: leave out path={self.path!r}.")

    @classmethod
    def of(cls, path: str, only: str | Sequence[str], via: Any) -> Route:
        """Take what the user gave: one name or several, one network or several."""
        parts = (only,) if isinstance(only, str) else tuple(only)
        networks = tuple(via) if isinstance(via, (list, tuple)) else (via,)
        described = tuple(
            {"source": one.source, "sha256": one.digest} if isinstance(one, Checkpoint) else {"source": f"via[{i}]"}
            for i, one in enumerate(networks)
        )
        states = tuple(state_of(one, f"via[{i}]") for i, one in enumerate(networks))
        return cls(path, parts, states, described)

    def fitted(self, module: nn.Module, a: StateDict, b: StateDict) -> Route:
        """Check that the route can be walked, before anything is aligned; return it with weights that fit.

        Raises
        ------
        UsageError
            If a part has no weights.
        MismatchError
            If a network on the way does not fit, or the parts of B do not fit the rest of A.
        """
        via = tuple(
            fit_state(state, module, source["source"]) for state, source in zip(self.via, self.sources, strict=True)
        )
        if self.only:
            for other in (*via, b):
                check_fits(module, move_only(a, other, self.only))
        return replace(self, via=via)

    def between(self, module: nn.Module, a: StateDict, points: Sequence[StateDict]) -> AbstractPath:
        """Return the path from A through aligned networks, of which the last is B."""
        moving = [move_only(a, point, self.only) for point in points] if self.only else points
        if self.path == "spherical":
            return SphericalPath(a, moving[-1], frozenset(dict(module.named_parameters())))
        return LinearPath(a, moving[0]) if len(moving) == 1 else PolygonalPath([a, *moving])

    def scaling(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a measurement with inputs scaled for A all along where the rest of A stays."""
        pair = settings.get("normalizations")
        return dict(settings) if pair is None or not self.only else {**settings, "normalizations": (pair[0], pair[0])}

    def attrs(self) -> dict[str, Any]:
        """Return what differs from the straight line between the whole networks, as attributes of a result."""
        found: dict[str, Any] = {"path": self.path}
        if self.only:
            found["only"] = list(self.only)
        if self.via:
            found["via"] = [dict(source) for source in self.sources]
        return found

    def label(self, dataset: xr.Dataset) -> None:
        """Say on the axis of a result's figures where its end is no B."""
        if self.only:
            end = f"B*: A with B's {', '.join(self.only)}"
            dataset["t"].attrs["long_name"] = f"position along the path (0 is A, 1 is {end})"

    def describe(self, module: nn.Module) -> str:
        """Say what moves and where through, for people."""
        lines = []
        if self.only:
            state = module.state_dict()
            names = moved_names(state, self.only)
            share = sum(state[name].numel() for name in names) / sum(tensor.numel() for tensor in state.values())
            lines.append(
                f"only {', '.join(self.only)}: {len(names)} of {len(state)} tensors, {100 * share:.1f}% of the "
                "weights; the rest stays at A, and the other end, B*, is A with these of B"
            )
        if self.path == "spherical":
            lines.append("spherical: every parameter tensor turns; buffers move on the line")
        if self.via:
            files = ", ".join(os.path.basename(source["source"]) for source in self.sources)  # noqa: PTH119
            lines.append(f"via {files}, each aligned to A as B is")
        return "\n".join(lines)


def state_of(given: Any, name: str) -> StateDict:
    """Take a state dict out of whatever has one."""
    if isinstance(given, Checkpoint):
        return given.state
    if isinstance(given, nn.Module):
        return given.state_dict()
    if not isinstance(given, Mapping):
        raise UsageError(f"{name} is a {type(given).__name__}: pass a state dict, a module, or what lmc.load returns.")
    strange = next((key for key, value in given.items() if not isinstance(value, Tensor)), None)
    if strange is not None:
        held = type(given[strange]).__name__
        raise UsageError(f"{name}[{strange!r}] is a {held}, no tensor. Is the state dict inside a wrapper, or numpy?")
    return given


def open_via(
    checkpoints: Sequence[Checkpoint], pair: Pair, mapping: str | os.PathLike[str] | None = None
) -> list[Checkpoint]:
    """Return further checkpoints of a pair's network, under the names that a mapping gives.

    Raises
    ------
    CheckpointError, MismatchError
        If one is not usable, or its shapes are not those of the network.
    """
    files = [pair.a.checkpoint, pair.b.checkpoint, *checkpoints]
    names = {} if mapping is None else read_names(mapping, *files)
    found = []
    for one in checkpoints:
        check_usable(one)
        renamed = rename(one, names)
        state = fit_state(renamed.state, pair.a.architecture.module, one.source)
        found.append(replace(renamed, state={name: wide(tensor) for name, tensor in state.items()}))
    return found
