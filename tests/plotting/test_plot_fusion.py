"""The fusion figure, by structure: a dot and a bar for each row, where the values are, in the looks of its role."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lmc import schema
from lmc._errors import SchemaError, UsageError
from lmc.plotting import plot_fusion_table
from lmc.plotting.style import house_style

ROWS = {
    "a.pt": ("parent", 0.977),
    "b.pt": ("parent", 0.971),
    "ensemble (logits)": ("ensemble", 0.979),
    "vanilla": ("baseline", 0.74),
    "align-then-average?align=weights?restarts=4": ("fused", 0.965),
    "align-then-average, fine-tuned": ("fine-tuned", 0.975),
}


def fake_fusion(*, accuracy: bool = True, rows: dict = ROWS, shift: float = 0.0) -> xr.Dataset:
    """Make a valid fusion table; intervals are not symmetric, so that a swapped bound shows."""
    right = np.array([value for _, value in rows.values()]) - shift
    loss = -np.log(right)
    spans = {"loss": (loss, 0.9 * loss, 1.2 * loss), "accuracy": (right, right - 0.004, right + 0.002)}
    variables = {"role": ("model", np.array([role for role, _ in rows.values()], dtype=str))}
    for name, (middle, low, high) in spans.items():
        if name == "loss" or accuracy:
            variables |= {name: ("model", middle), f"{name}_ci": (("model", "bound"), np.stack([low, high], -1))}
    coords = {"model": list(rows), "bound": list(schema.BOUNDS), "split": "test"}
    return schema.annotate(xr.Dataset(variables, coords), "fusion", {"seed": 0})


def dot(panel, name: str) -> tuple[float, float]:
    (line, *_) = panel.points[name]
    return float(line.get_xdata()[0]), float(line.get_ydata()[0])


def bar(panel, name: str) -> tuple[float, float]:
    _, _, (bars,) = panel.points[name]
    ((x0, _), (x1, _)) = bars.get_segments()[0]
    return float(x0), float(x1)


@pytest.mark.parametrize("metric", ["accuracy", "loss", "error"])
def test_every_row_is_a_dot_and_a_bar_where_its_values_are(metric: str):
    table = fake_fusion()
    panel = plot_fusion_table(table, metric=metric).panels[metric]
    assert list(panel.points) == list(ROWS)
    for row, name in enumerate(ROWS):
        one = table.sel(model=name)
        values = one.loss if metric == "loss" else one.accuracy if metric == "accuracy" else 1 - one.accuracy
        low, high = (one.loss_ci if metric == "loss" else one.accuracy_ci).values
        low, high = (1 - high, 1 - low) if metric == "error" else (low, high)
        assert dot(panel, name) == (pytest.approx(float(values)), row)
        assert bar(panel, name) == (pytest.approx(low), pytest.approx(high))
        assert bar(panel, name) != (pytest.approx(2 * float(values) - high), pytest.approx(2 * float(values) - low))
    first, last = panel.axes.get_ylim()
    assert first > last, "the first row is on top"
    best = {"accuracy": 0.977, "loss": -np.log(0.977), "error": 1 - 0.977}[metric]
    assert panel.best is not None and panel.best.get_xdata()[0] == pytest.approx(best)
    assert panel.axes.get_xscale() == ("log" if metric == "error" else "linear")


def test_roles_can_be_told_apart_without_colour_and_are_explained():
    artists = plot_fusion_table(fake_fusion())
    panel = artists.panels["accuracy"]
    looks = {}
    for name, (role, _) in ROWS.items():
        (line, *_) = panel.points[name]
        looks.setdefault(role, set()).add((line.get_marker(), to_rgb(line.get_markerfacecolor())))
    assert all(len(one) == 1 for one in looks.values())
    grey = [(marker, round(float(np.dot(color, (0.3, 0.59, 0.11))), 1)) for ((marker, color),) in looks.values()]
    assert len(set(grey)) == len(looks) == 5
    assert [text.get_text() for text in artists.legend.get_texts()] == [*looks, "best parent"]
    assert [text.get_text() for text in panel.values.values()][:2] == ["97.70%", "97.10%"]


def test_names_are_whole_and_nothing_is_clipped_or_squeezed():
    for metric, width in (("accuracy", 3.4), ("both", 6.8)):
        artists = plot_fusion_table(fake_fusion(), metric=metric)
        artists.figure.draw_without_rendering()
        tight = artists.figure.get_tightbbox()
        assert artists.figure.get_size_inches()[0] == pytest.approx(width)
        assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width
        for panel in artists.panels.values():
            assert panel.axes.get_window_extent().width / artists.figure.dpi > 1.1
        ticks = [label.get_text() for label in artists.panels["accuracy"].axes.get_yticklabels()]
        assert [tick.replace("\n", "") for tick in ticks] == [name.replace(", ", ",") for name in ROWS]
        boxes = [label.get_window_extent() for label in artists.panels["accuracy"].axes.get_yticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_runs_are_dots_of_their_own_around_their_mean():
    runs = xr.concat([fake_fusion(shift=shift) for shift in (0.0, 0.02, 0.07)], "run", data_vars="all")
    panel = plot_fusion_table(runs).panels["accuracy"]
    np.testing.assert_allclose(panel.runs["vanilla"].get_xdata(), [0.74, 0.72, 0.67])
    assert dot(panel, "vanilla")[0] == pytest.approx(0.71)
    assert bar(panel, "vanilla") == (pytest.approx(0.67), pytest.approx(0.74))
    assert "3 runs" in panel.axes.get_xlabel()
    assert not plot_fusion_table(fake_fusion()).panels["accuracy"].runs


def test_axes_of_the_user_are_drawn_on_and_nothing_else_is_touched():
    table = fake_fusion()
    before, settings = table.copy(deep=True), dict(matplotlib.rcParams)
    axes = Figure().subplots()
    artists = plot_fusion_table(table, ax=axes)
    assert artists.figure is axes.figure and artists.panels["accuracy"].axes is axes
    assert artists.legend.axes is axes
    xr.testing.assert_identical(table, before)
    assert dict(matplotlib.rcParams) == settings
    with house_style():
        assert dict(matplotlib.rcParams) != settings, "the comparison can fail"
    assert artists._repr_png_().startswith(b"\x89PNG")


def test_what_is_not_there_is_left_out_and_what_makes_no_sense_refused():
    assert list(plot_fusion_table(fake_fusion(accuracy=False)).panels) == ["loss"]
    orphans = fake_fusion(rows={"vanilla": ("baseline", 0.7), "wb": ("fused", 0.9)})
    assert plot_fusion_table(orphans).panels["accuracy"].best is None
    perfect = fake_fusion(rows={"a": ("parent", 1.0), "b": ("parent", 0.9)})
    assert plot_fusion_table(perfect, metric="error").panels["error"].axes.get_xscale() == "linear"
    with pytest.raises(UsageError, match=r"Unknown metric 'acuracy'\. Did you mean 'accuracy'\?"):
        plot_fusion_table(fake_fusion(), metric="acuracy")
    with pytest.raises(UsageError, match="needs the variable 'accuracy'"):
        plot_fusion_table(fake_fusion(accuracy=False), metric="error")
    with pytest.raises(UsageError, match="'both' needs 2 axes, ax has 1"):
        plot_fusion_table(fake_fusion(), ax=Figure().subplots(), metric="both")
    with pytest.raises(UsageError, match="is a path"):
        plot_fusion_table("t.nc")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="'role'"):
        plot_fusion_table(fake_fusion().drop_vars("role"))
