"""The figure of an adaptive run: what was evaluated is drawn, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from lmc import schema
from lmc._errors import SchemaError, UsageError
from lmc.plotting import plot_adaptive, plot_barrier


@pytest.fixture
def decided() -> xr.Dataset:
    t = np.linspace(0, 1, 9)
    examples = np.array([[256, 0, 256, 0, 256, 0, 256, 0, 256], [512, 256, 256, 256, 512, 256, 256, 256, 512]])
    rise = np.where(examples > 0, [[0.4], [0.01]] * np.sin(np.pi * t), np.nan)
    path = ("alignment", "t")
    variables = {
        "verdict": ("alignment", ["above", "below tolerance"]),
        "barrier": ("alignment", [0.4, 0.01]),
        "barrier_ci": (("alignment", "bound"), [[0.3, np.inf], [0.0, 0.018]]),
        "rise": (path, rise),
        "rise_ci": ((*path, "bound"), np.stack([rise - 0.01, rise + 0.02], axis=-1)),
        "examples": (path, examples),
        "evaluations": ("alignment", examples.sum(axis=1)),
        "evaluations_full": ((), 90_000),
        "loss": (path, rise + 0.1),
        "seconds_evaluate": ("alignment", [0.1, 0.2]),
        "evaluation_loss": ("evaluation", np.zeros(examples.sum(), dtype=np.float32)),
    }
    coords = {"alignment": ["none", "weights"], "t": t, "example": np.arange(512), "bound": list(schema.BOUNDS)}
    attrs = {"tolerance": 0.02, "confidence": 0.95, "metric": "loss", "baseline": "chord"}
    return schema.annotate(xr.Dataset(variables, coords | {"split": "test"}), "adaptive", attrs)


def test_positions_that_were_not_evaluated_are_not_drawn(decided) -> None:
    artists = plot_adaptive(decided)
    for name, bars in artists.bars.items():
        assert len(bars.lines[0].get_xdata()) == int((decided.examples.sel(alignment=name) > 0).sum())
    assert artists.tolerance.get_ydata()[0] == 0.02
    assert artists.axes.get_ylabel() == "test loss above the chord (nats)"


def test_bars_reach_from_bound_to_bound(decided) -> None:
    (_, _, (segments,)) = plot_adaptive(decided).bars["weights"].lines
    found = np.array([segment[:, 1] for segment in segments.get_segments()])
    np.testing.assert_allclose(found, decided.rise_ci.sel(alignment="weights").values)


def test_verdict_and_cost_are_in_the_legend(decided) -> None:
    texts = [text.get_text() for text in plot_adaptive(decided).legend.get_texts()]
    assert texts == ["none: above, 1/70 of the evaluations", "weights: below tolerance, 1/29 of the evaluations"]


def test_own_axes_are_used_and_other_kinds_refused(decided) -> None:
    ax = Figure().subplots()
    assert plot_adaptive(decided, ax=ax).axes is ax
    with pytest.raises(SchemaError, match="'barrier' is needed, this one is of kind 'adaptive'"):
        plot_barrier(decided)
    with pytest.raises(UsageError, match="2 pairs"):
        plot_adaptive(xr.concat([decided, decided], dim="pair"))
    assert list(plot_adaptive(decided.expand_dims("pair")).bars) == ["none", "weights"], (
        "of one pair there is no choice"
    )
