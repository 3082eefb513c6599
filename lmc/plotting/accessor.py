"""``dataset.lmc.plot()`` and ``dataset.lmc.plot.barrier(...)``: the figures of a result, from the result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import xarray as xr

from lmc.plotting.kinds import FIGURES, figures_of, plot


class Plots:
    """The figures of one result; call it for the natural one.

    Attributes are the figures of `lmc.plotting.kinds.FIGURES` that draw this kind of result, ``-`` written ``_``.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def __call__(self, kind: str | None = None, **settings: Any) -> Any:
        """Draw the natural figure, or the one named: `lmc.plotting.plot`."""
        return plot(self._dataset, kind, **settings)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the function that draws one figure of this result."""
        figure = name.replace("_", "-")
        if figure not in FIGURES:
            raise AttributeError(f"no figure {figure!r}; there are {', '.join(FIGURES)}")
        return partial(plot, self._dataset, figure)

    def __dir__(self) -> list[str]:
        """List the figures that this result has."""
        names = figures_of(str(self._dataset.attrs.get("lmc_kind")))
        return [*super().__dir__(), *(name.replace("-", "_") for name in names)]


@xr.register_dataset_accessor("lmc")
class LmcAccessor:
    """What this package adds to a dataset."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    @property
    def plot(self) -> Plots:
        """The figures of this result."""
        return Plots(self._dataset)
