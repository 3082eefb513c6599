"""Which figures there are, which kinds of result each draws, and which one is drawn where none is named."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.plotting.scaling_points import varying


@dataclass(frozen=True)
class Drawn:
    """A figure: where its function lives, the kinds of result that it draws, and what makes it natural."""

    function: str
    kinds: tuple[str, ...]
    suits: Callable[[xr.Dataset], bool] = lambda dataset: True

    def load(self) -> Callable[..., Any]:
        """Return the function; its module is imported when a figure is drawn, not when it is listed."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)


def _of_one_pair(dataset: xr.Dataset) -> bool:
    return dataset.sizes.get("pair", 1) == 1


def _stacked(dataset: xr.Dataset) -> bool:
    return dataset.attrs["lmc_kind"] == "barrier"


def _varies(dataset: xr.Dataset) -> bool:
    return bool(varying(dataset))


# The first figure that names a kind and suits the dataset is the natural one: drawn where nothing is asked for.
FIGURES: Mapping[str, Drawn] = {
    "barrier": Drawn("lmc.plotting.barrier:plot_barrier", ("barrier",), _of_one_pair),
    "barrier-panels": Drawn("lmc.plotting.barrier_panels:plot_barrier_panels", ("barrier", "sweep"), _stacked),
    "adaptive": Drawn("lmc.plotting.adaptive:plot_adaptive", ("adaptive",)),
    "basin": Drawn("lmc.plotting.basin:plot_basin", ("basin",)),
    "basin-surface": Drawn("lmc.plotting.basin_surface:plot_basin_surface", ("basin",)),
    "scaling": Drawn("lmc.plotting.scaling:plot_scaling", ("sweep", "study"), _varies),
    "verdicts": Drawn("lmc.plotting.verdicts:plot_verdicts", ("conjecture",)),
    "barrier-matrix": Drawn("lmc.plotting.barrier_matrix:plot_barrier_matrix", ("sweep", "conjecture")),
    "examples": Drawn("lmc.plotting.examples:plot_examples", ("barrier",)),
    "fusion-table": Drawn("lmc.plotting.fusion_table:plot_fusion_table", ("fusion",)),
    "matching": Drawn("lmc.plotting.matching:plot_matching", ("alignment",)),
    "coupling": Drawn("lmc.plotting.coupling:plot_coupling", ("alignment",)),
}
"""Figure, as ``lmc plot --kind`` and ``dataset.lmc.plot`` have it, to its function."""


def figures_of(kind: str) -> list[str]:
    """Return the names of the figures that draw a kind of result."""
    return [name for name, figure in FIGURES.items() if kind in figure.kinds]


def natural_figure(dataset: xr.Dataset) -> str:
    """Return the name of the figure that suits a result.

    Raises
    ------
    SchemaError
        If the dataset is no result of this tool; the message says what is missing.
    UsageError
        Where there is no figure of that kind.
    """
    schema.validate(dataset)
    kind = dataset.attrs["lmc_kind"]
    for name in figures_of(kind):
        if FIGURES[name].suits(dataset):
            return name
    raise UsageError(f"There is no figure of a result of kind {kind!r} yet.")


def plot(dataset: xr.Dataset, kind: str | None = None, **settings: Any) -> Any:
    """Draw a result: the figure that suits it, or the one that is named.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of any kind (docs/schema.md).
    kind : str, optional
        A figure of the table; by default the natural one.
    **settings
        What the function of the figure takes.

    Returns
    -------
    The artists of the figure, with the attribute ``figure``.

    Raises
    ------
    SchemaError
        If the dataset is no result of this tool; the message says what is missing.
    UsageError
        For a figure that is unknown, or that this kind of result does not have.
    """
    if kind is None:
        return FIGURES[natural_figure(dataset)].load()(dataset, **settings)
    schema.validate(dataset)
    found = dataset.attrs["lmc_kind"]
    names = figures_of(found)
    if kind not in FIGURES:
        raise unknown("figure", kind, FIGURES)
    if kind not in names:
        listed = f" It has: {', '.join(names)}." if names else ""
        raise UsageError(f"A result of kind {found!r} has no figure {kind!r}.{listed}")
    return FIGURES[kind].load()(dataset, **settings)
