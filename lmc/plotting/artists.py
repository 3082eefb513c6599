"""What every figure is: itself and everything in it, shown by a notebook."""

from __future__ import annotations

import io
from abc import ABC
from dataclasses import dataclass

from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True)
class AbstractArtists(ABC):
    """A figure; fields of subclasses are what is in it, to be changed at will.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or SubFigure
        The figure; a notebook shows it when this object is the last line of a cell.
    """

    figure: Figure | SubFigure

    def _repr_png_(self) -> bytes | None:
        if not isinstance(self.figure, Figure) or self.figure.canvas.manager is not None:
            return None  # pyplot shows its own figures
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()
