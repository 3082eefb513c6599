"""The basin figure, by structure: what is drawn where, from which values, and what is left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline

from lmc._errors import SchemaError, UsageError
from lmc.plotting import plot_basin, plot_basin_surface, save_figure
from lmc.plotting.levels import contour_levels
from lmc.plotting.style import house_style

MakeBasin = Callable[..., xr.Dataset]


def own_axes(panels: int = 1) -> list[Axes]:
    return list(Figure().subplots(1, panels, squeeze=False)[0])


def rings(lines: object) -> list[np.ndarray]:
    """Return the pieces of a contour, each an array of vertices."""
    (path,) = lines.get_paths()  # type: ignore[attr-defined]
    return list(path.to_polygons(closed_only=False))


def test_modes_are_marked_and_named_where_they_are(basin: xr.Dataset):
    artists = plot_basin(basin)
    assert list(artists.panels) == ["loss", "error"]
    for panel in artists.panels.values():
        assert list(panel.modes) == list(panel.labels) == ["A", "B", "B aligned"]
        for name, mark in panel.modes.items():
            one = basin.sel(mode=name)
            assert mark.get_xydata().tolist() == [[float(one.mode_u), float(one.mode_v)]]
            assert panel.labels[name].get_text() == name and panel.labels[name].xy == (one.mode_u, one.mode_v)


def test_a_copy_is_joined_to_its_original_unlike_the_others(basin: xr.Dataset):
    segments = plot_basin(basin).panels["loss"].segments
    assert set(segments) == {("A", "B"), ("A", "B aligned"), ("B", "B aligned")}
    assert segments["A", "B"].get_xydata().tolist() == [[0, 0], [4, 0]]
    looks = {pair: (line.get_color(), line.get_linestyle()) for pair, line in segments.items()}
    assert looks["A", "B"] == looks["A", "B aligned"] != looks["B", "B aligned"]
    texts = [text.get_text() for text in plot_basin(basin).legend.get_texts()]
    assert texts[-2:] == ["straight path", "a mode and its aligned copy"]


def test_three_modes_of_their_own_are_joined_alike(make_basin: MakeBasin):
    artists = plot_basin(make_basin(copies=False))
    assert len({line.get_color() for line in artists.panels["loss"].segments.values()}) == 1
    assert [text.get_text() for text in artists.legend.get_texts()][-1] == "straight path"


def test_the_outline_is_that_of_the_component_and_of_no_other(basin: xr.Dataset):
    level = float(basin.level[0])
    places = np.stack(np.meshgrid(basin.u, basin.v, indexing="ij"), axis=-1).reshape(-1, 2)
    for panel in plot_basin(basin).panels.values():
        assert list(panel.outlines) == [("A", "B aligned"), ("B",)]
        for names, lines in panel.outlines.items():
            held = int(basin.mode_component.sel(level=level, mode=names[0]))
            mine = places[basin.component[0].values.ravel() == held]
            for ring in rings(lines):
                assert np.linalg.norm(ring[:, None] - mine, axis=-1).min(axis=1).max() < 0.25
            # B's basin ends inside the grid: its outline goes round its points, and round none else.
            if names == ("B",):
                (ring,) = rings(lines)
                inside = Outline(ring).contains_points(places)
                assert abs(int(inside.sum()) - len(mine)) <= 8, "those exactly at the level may fall on either side"


def test_outlines_and_legend_tell_components_apart_without_colour(basin: xr.Dataset):
    artists = plot_basin(basin)
    styles = [lines.get_linestyle() for lines in artists.panels["loss"].outlines.values()]
    assert styles[0] != styles[1]
    texts = [text.get_text() for text in artists.legend.get_texts()]
    assert texts[0] == "A, B aligned: one component of loss ≤ 0.55 nats"
    assert texts[1] == "B: another component of loss ≤ 0.55 nats"


def test_a_mode_above_the_level_has_no_outline(basin: xr.Dataset):
    basin["mode_component"][0, 1] = 0
    assert list(plot_basin(basin).panels["loss"].outlines) == [("A", "B aligned")]


def test_values_are_drawn_at_their_place(basin: xr.Dataset):
    """A transposed field would put the ridge across the wrong axis."""
    contours = plot_basin(basin).panels["loss"].contours
    zmax, zmin = contours.zmax, contours.zmin
    assert zmin == pytest.approx(float(basin.loss.min())) and zmax == pytest.approx(float(basin.loss.max()))
    lowest = contours.get_paths()[0]
    assert lowest.contains_point((0.0, 3.5)) and not lowest.contains_point((3.5, 3.5))


def test_one_mode_is_drawn_without_segments(make_basin: MakeBasin):
    artists = plot_basin(make_basin(modes=1))
    panel = artists.panels["loss"]
    assert not panel.segments and list(panel.outlines) == [("A",)]
    assert artists.legend.get_texts()[0].get_text().startswith("A: a component of loss ≤ 0.55")


@pytest.mark.parametrize(
    ("low", "high", "fewest"), [(0.07, 3.0, 8), (0.02, 0.9, 8), (0.05, 60.0, 8), (1e-4, 9.0, 8), (1.0, 3.4, 6)]
)
def test_levels_are_round_logarithmic_and_span_the_values(low: float, high: float, fewest: int):
    levels = contour_levels(np.array([low, high]))
    assert levels[0] <= low and levels[-1] >= high and len(levels) >= fewest
    ratios = levels[1:] / levels[:-1]
    assert ratios.max() < 3 and (ratios > 1.1).all()
    assert all(len(f"{level:.6e}".rstrip("0").split("e")[0].rstrip("0")) <= 3 for level in levels), "two digits at most"


@pytest.mark.parametrize("values", [[1.0, 1.5], [-1.0, 5.0], [0.0, 3.0], [2.0, 2.0], [np.nan, 1.0, 9.0], [np.nan]])
def test_levels_exist_for_any_values(values: list[float]):
    levels = contour_levels(np.array(values))
    finite = [value for value in values if np.isfinite(value)]
    assert (np.diff(levels) > 0).all() and len(levels) > 1
    assert not finite or (levels[0] <= min(finite) and levels[-1] >= max(finite))


def test_an_error_of_zero_does_not_end_the_logarithm(basin: xr.Dataset):
    basin["accuracy"] = basin["accuracy"].where(basin["accuracy"] < 0.97, 1.0)
    panel = plot_basin(basin).panels["error"]
    assert panel.contours.levels[0] > 0
    assert panel.contours.get_paths()[0].contains_point((0.0, 2.0))


def test_labels_come_from_the_attributes(basin: xr.Dataset):
    basin["u"].attrs["long_name"] = "from here"
    basin["loss"].attrs |= {"long_name": "loss per token", "units": "bits"}
    panels = plot_basin(basin).panels
    assert panels["loss"].axes.get_xlabel() == "from here"
    assert [panel.axes.get_title() for panel in panels.values()] == ["test loss per token (bits)", "test error"]
    whole = basin.assign_coords(split=basin["split"].copy(data="all"))
    assert plot_basin(whole).panels["error"].axes.get_title() == "error"
    assert panels["loss"].axes.get_aspect() == panels["error"].axes.get_aspect() == 1


def test_nothing_is_clipped_at_page_width(make_basin: MakeBasin):
    for dataset in (make_basin(), make_basin(modes=1), make_basin(accuracy=False)):
        figure = plot_basin(dataset).figure
        width, height = figure.get_size_inches()
        tight = figure.get_tightbbox()
        assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height
        assert width <= 6.8


def test_axes_of_the_user_are_drawn_on_in_their_style(basin: xr.Dataset):
    with matplotlib.rc_context({"font.size": 17}):
        axes = own_axes(2)
        artists = plot_basin(basin, ax=axes)
    assert artists.figure is axes[0].figure
    assert [panel.axes for panel in artists.panels.values()] == axes
    assert axes[1].xaxis.label.get_size() == 17
    assert list(plot_basin(basin, ax=own_axes()[0]).panels) == ["loss"]


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_legend_below_axes_of_the_user_stays_in_their_figure(basin: xr.Dataset, layout: str | None):
    figure = Figure(figsize=(9, 5), layout=layout)
    artists = plot_basin(basin, ax=list(figure.subplots(1, 2)))
    figure.draw_without_rendering()
    legend = artists.legend.get_window_extent()
    assert legend.y0 >= 0 and legend.x1 <= figure.bbox.x1
    for panel in artists.panels.values():
        assert not legend.overlaps(panel.axes.get_window_extent())
        assert not legend.overlaps(panel.axes.xaxis.get_tightbbox())
    bar = artists.panels["loss"].colorbar.ax.get_tightbbox()
    assert bar.x1 < artists.panels["error"].axes.get_tightbbox(bbox_extra_artists=[]).x0


def test_requests_that_make_no_sense_are_refused(make_basin: MakeBasin, barrier: xr.Dataset):
    basin = make_basin()
    with pytest.raises(UsageError, match=r"Unknown metric 'eror'\. Did you mean 'error'\?"):
        plot_basin(basin, metric="eror")
    with pytest.raises(UsageError, match="needs the variable 'accuracy'"):
        plot_basin(make_basin(accuracy=False), metric="error")
    with pytest.raises(UsageError, match="'both' needs 2 axes, ax has 1"):
        plot_basin(basin, ax=own_axes()[0], metric="both")
    with pytest.raises(UsageError, match=r"no components at level 0\.7; it has 0\.55"):
        plot_basin(basin, level=0.7)
    with pytest.raises(SchemaError, match="'basin' is needed, this one is of kind 'barrier'"):
        plot_basin(barrier)
    for draw in (plot_basin, plot_basin_surface):
        with pytest.raises(UsageError, match=rf"lmc\.{draw.__name__}\(xarray\.open_dataset\('x\.nc'\)\)"):
            draw("x.nc")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="not a DataArray"):
            draw(basin["loss"])  # type: ignore[arg-type]


def test_the_dataset_and_matplotlib_stay_as_they_were(basin: xr.Dataset):
    before, settings = basin.copy(deep=True), dict(matplotlib.rcParams)
    plot_basin(basin)
    plot_basin_surface(basin)
    xr.testing.assert_identical(basin, before)
    assert dict(matplotlib.rcParams) == settings
    with house_style():
        assert dict(matplotlib.rcParams) != settings, "the comparison can fail"


def test_the_surface_stands_where_the_loss_does(basin: xr.Dataset):
    artists = plot_basin_surface(basin)
    assert list(artists.modes) == list(artists.labels) == ["A", "B", "B aligned"]
    x, y, z = artists.modes["B"].get_data_3d()
    assert (x[0], y[0]) == (4, 0) and z[0] == pytest.approx(np.log10(0.05))
    assert artists.axes.get_zlabel() == "loss (nats)"
    axes = Figure().add_subplot(projection="3d")
    assert plot_basin_surface(basin, ax=axes).axes is axes


def test_figures_are_saved_and_shown(basin: xr.Dataset, tmp_path: Path):
    for artists in (plot_basin(basin), plot_basin_surface(basin)):
        assert artists._repr_png_().startswith(b"\x89PNG")
        assert save_figure(artists.figure, tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
        artists.figure.canvas.manager = object()
        assert artists._repr_png_() is None


def test_drawing_needs_neither_torch_nor_pyplot():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from conftest import fake_basin; from lmc.plotting import plot_basin, plot_basin_surface\n"
        "plot_basin(fake_basin())._repr_png_(); plot_basin_surface(fake_basin())._repr_png_()\n"
        "print(sorted({'torch', 'ot', 'matplotlib.pyplot', 'matplotlib.figure'} & set(sys.modules)))"
    )
    folder = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['matplotlib.figure']", "figure shows that the probe sees what is imported"
