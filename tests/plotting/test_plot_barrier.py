"""The barrier figure, by structure: what is drawn where, from which values, and what is left alone."""

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
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lmc._errors import SchemaError, UsageError
from lmc.plotting import plot_barrier
from lmc.plotting.style import house_style

MakeBarrier = Callable[..., xr.Dataset]
MANY = {"none": 1.2, "random": 1.3, "weights?restarts=8": 0.06, "ot?on=activations&cost=sqeuclidean": 0.1, "ste": 0.01}


def own_axes(panels: int = 1) -> list[Axes]:
    return list(Figure().subplots(1, panels, squeeze=False)[0])


def outline(interval: np.ndarray, t: np.ndarray) -> set[tuple[float, float]]:
    return {(x, y) for x, row in zip(t, interval, strict=True) for y in row}


def test_one_line_per_alignment_in_the_order_of_the_dataset(make_barrier: MakeBarrier):
    dataset = make_barrier(MANY)
    artists = plot_barrier(dataset)
    assert list(artists.panels) == ["loss", "accuracy"]
    for metric, panel in artists.panels.items():
        assert list(panel.lines) == list(panel.bands) == list(MANY)
        for name, line in panel.lines.items():
            np.testing.assert_array_equal(line.get_xdata(), dataset["t"])
            np.testing.assert_array_equal(line.get_ydata(), dataset[metric].sel(alignment=name))
            assert line.axes is panel.axes


def test_bands_are_the_intervals(barrier: xr.Dataset):
    t = barrier["t"].values
    for metric, panel in plot_barrier(barrier).panels.items():
        for name, band in panel.bands.items():
            (path,) = band.get_paths()
            interval = barrier[f"{metric}_ci"].sel(alignment=name).values
            assert set(map(tuple, path.vertices)) == outline(interval, t)
            assert set(map(tuple, path.vertices)) != outline(interval[:, ::-1] + 1e-3, t), "the comparison can fail"
            assert tuple(band.get_facecolor()[0][:3]) == to_rgb(panel.lines[name].get_color())


def test_error_is_one_minus_accuracy_with_its_interval_turned_round(barrier: xr.Dataset):
    panel = plot_barrier(barrier, metric="error").panels["error"]
    for name, line in panel.lines.items():
        one = barrier.sel(alignment=name)
        np.testing.assert_array_equal(line.get_ydata(), 1 - one["accuracy"])
        (path,) = panel.bands[name].get_paths()
        assert set(map(tuple, path.vertices)) == outline(1 - one["accuracy_ci"].values, one["t"].values)
    assert panel.axes.get_ylabel() == "test error"


def test_ends_are_marked_once_and_joined_by_the_chord(barrier: xr.Dataset):
    panel = plot_barrier(barrier).panels["loss"]
    assert [(mark.get_text(), *mark.xy) for mark in panel.ends] == [("A", 0, 0.08), ("B", 1, 0.12)]
    (chord,) = panel.baselines
    np.testing.assert_array_equal(chord.get_xydata(), [(0, 0.08), (1, 0.12)])
    assert chord.get_linestyle() == "--" and chord.get_linewidth() < 1


def test_the_mean_baseline_is_level(barrier: xr.Dataset):
    panel = plot_barrier(barrier, baseline="mean").panels["loss"]
    np.testing.assert_allclose(panel.baselines[0].get_ydata(), [0.1, 0.1])
    assert "above the mean end" in panel.legend.get_title().get_text()


def test_an_alignment_that_changes_its_end_gets_its_own_mark(barrier: xr.Dataset):
    changed = barrier.copy(deep=True)
    changed["loss"][1, -1] += 0.5
    panel = plot_barrier(changed).panels["loss"]
    assert [(mark.get_text(), *mark.xy) for mark in panel.ends] == [("A", 0, 0.08), ("B", 1, 0.12), ("B", 1, 0.62)]
    assert len(panel.baselines) == 2


@pytest.mark.parametrize(("baseline", "loss", "error"), [("chord", "1.200", "0.240"), ("mean", "1.210", "0.242")])
def test_the_legend_gives_the_barrier_and_its_interval(barrier: xr.Dataset, baseline: str, loss: str, error: str):
    for metric, value in (("loss", loss), ("accuracy", error)):
        legend = plot_barrier(barrier, baseline=baseline).panels[metric].legend
        low, high = barrier["loss_barrier_ci" if metric == "loss" else "error_barrier_ci"].sel(
            alignment="none", baseline=baseline
        )
        entries = [text.get_text() for text in legend.get_texts()]
        assert entries[0] == f"none  {value} [{low:.3f}, {high:.3f}]"
        assert entries[1].startswith("weights  ")
        assert "95% interval" in legend.get_title().get_text()


def test_labels_come_from_the_attributes(barrier: xr.Dataset):
    barrier["loss"].attrs = {"long_name": "loss per token", "units": "bits"}
    barrier["t"].attrs["long_name"] = "where"
    panels = plot_barrier(barrier.assign_coords(split=barrier["split"].copy(data="train"))).panels
    assert panels["loss"].axes.get_ylabel() == "train loss per token (bits)"
    assert panels["accuracy"].axes.get_ylabel() == "train accuracy"
    assert [panel.axes.get_xlabel() for panel in panels.values()] == ["", "where"], "one label for the shared axis"


def test_a_set_without_splits_is_not_called_all(barrier: xr.Dataset):
    panels = plot_barrier(barrier.assign_coords(split=barrier["split"].copy(data="all"))).panels
    assert [panel.axes.get_ylabel() for panel in panels.values()] == ["loss (nats)", "accuracy"]


def test_another_coverage_shows_in_the_legend(barrier: xr.Dataset):
    barrier["loss_barrier_ci"].attrs["long_name"] = "80% interval of the loss barrier"
    assert "[80% interval]" in plot_barrier(barrier).panels["loss"].legend.get_title().get_text()


def test_positions_out_of_order_are_drawn_in_order(barrier: xr.Dataset):
    shuffled = barrier.isel(t=np.random.default_rng(0).permutation(barrier.sizes["t"]))
    line = plot_barrier(shuffled).panels["loss"].lines["none"]
    np.testing.assert_array_equal(line.get_xydata(), plot_barrier(barrier).panels["loss"].lines["none"].get_xydata())


def test_lines_can_be_told_apart_without_colour(make_barrier: MakeBarrier):
    panel = plot_barrier(make_barrier({f"method {i}": 0.1 * i for i in range(7)})).panels["loss"]
    looks = [(line.get_linestyle(), line.get_marker()) for line in panel.lines.values()]
    colors = [line.get_color() for line in panel.lines.values()]
    assert len(set(looks)) == len(set(colors)) == 7
    assert "None" not in {marker for _, marker in looks}


@pytest.mark.parametrize("heights", [{"none": 1.2, "weights": 0.06}, MANY])
@pytest.mark.parametrize("baseline", ["chord", "mean"])
def test_nothing_is_clipped_or_squeezed_at_column_width(make_barrier: MakeBarrier, heights: dict, baseline: str):
    artists = plot_barrier(make_barrier(heights), baseline=baseline)
    width, height = artists.figure.get_size_inches()
    tight = artists.figure.get_tightbbox()
    assert width == pytest.approx(3.4)
    assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height
    boxes = [panel.axes.get_window_extent() for panel in artists.panels.values()]
    legends = [panel.legend.get_window_extent() for panel in artists.panels.values()]
    for box in boxes:
        assert box.width / artists.figure.dpi > 0.75 * width and box.height / artists.figure.dpi > 1.4
        assert not any(box.overlaps(legend) for legend in legends)


def test_axes_of_the_user_are_drawn_on_in_their_style(barrier: xr.Dataset):
    with matplotlib.rc_context({"axes.prop_cycle": matplotlib.cycler(color=["red", "lime"]), "font.size": 17}):
        axes = own_axes(2)
        artists = plot_barrier(barrier, ax=axes)
    assert artists.figure is axes[0].figure
    assert [panel.axes for panel in artists.panels.values()] == axes
    assert [line.get_color() for line in artists.panels["loss"].lines.values()] == ["red", "lime"]
    assert axes[1].xaxis.label.get_size() == 17
    assert plot_barrier(barrier).panels["accuracy"].axes.xaxis.label.get_size() != 17


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_legend_above_axes_of_the_user_covers_nothing(barrier: xr.Dataset, shape: tuple, layout: str | None):
    figure = Figure(layout=layout)
    axes = list(figure.subplots(*shape, squeeze=False).flat)
    before = [ax.get_window_extent().frozen() for ax in axes]
    panels = plot_barrier(barrier, ax=axes).panels.values()
    figure.draw_without_rendering()
    boxes = [panel.axes.get_window_extent() for panel in panels]
    legends = [panel.legend.get_window_extent() for panel in panels]
    for legend, box, place in zip(legends, boxes, before, strict=True):
        others = [other for other in (*boxes, *legends) if other is not legend]
        assert not any(legend.overlaps(other) for other in others)
        assert figure.bbox.y1 >= legend.y1
        assert box.height > 0.3 * place.height
        assert layout or legend.y1 == pytest.approx(place.y1), "axes and legend keep to the place the axes had"


def test_the_default_metric_is_what_there_is_room_and_data_for(make_barrier: MakeBarrier):
    assert list(plot_barrier(make_barrier(accuracy=False)).panels) == ["loss"]
    assert list(plot_barrier(make_barrier(), ax=own_axes()[0]).panels) == ["loss"]
    assert list(plot_barrier(make_barrier(), ax=own_axes(), metric="accuracy").panels) == ["accuracy"]


def test_a_result_without_intervals_of_accuracy_is_drawn_without_bands(barrier: xr.Dataset):
    bare = barrier.drop_vars(["accuracy_ci", "error_barrier", "error_barrier_ci"])
    panel = plot_barrier(bare).panels["accuracy"]
    assert not panel.bands
    assert [text.get_text() for text in panel.legend.get_texts()] == ["none", "weights"]


def test_requests_that_make_no_sense_are_refused(make_barrier: MakeBarrier):
    barrier = make_barrier()
    with pytest.raises(UsageError, match=r"Unknown metric 'acuracy'\. Did you mean 'accuracy'\?"):
        plot_barrier(barrier, metric="acuracy")
    with pytest.raises(UsageError, match=r"Unknown baseline 'cord'\. Did you mean 'chord'\?"):
        plot_barrier(barrier, baseline="cord")
    with pytest.raises(UsageError, match="needs the variable 'accuracy'"):
        plot_barrier(make_barrier(accuracy=False), metric="both")
    with pytest.raises(UsageError, match="'both' needs 2 axes, ax has 1"):
        plot_barrier(barrier, ax=own_axes()[0], metric="both")
    with pytest.raises(SchemaError, match="'loss_ci'"):
        plot_barrier(barrier.drop_vars("loss_ci"))
    with pytest.raises(SchemaError, match="Not a result of lmc"):
        plot_barrier(xr.Dataset())


def test_one_pair_is_drawn_and_several_are_refused(barrier: xr.Dataset):
    one = barrier.expand_dims("pair")
    assert plot_barrier(one).panels["loss"].lines["none"].get_ydata().shape == (25,)
    with pytest.raises(UsageError, match=r"2 pairs of models: choose one, as in dataset\.isel\(pair=0\)"):
        plot_barrier(xr.concat([barrier, barrier], dim="pair", data_vars="all"))


def test_one_alignment_chosen_is_drawn_as_any(barrier: xr.Dataset):
    chosen = barrier.sel(alignment="weights")
    before = chosen.copy(deep=True)
    for metric, panel in plot_barrier(chosen).panels.items():
        assert list(panel.lines) == list(panel.bands) == ["weights"]
        np.testing.assert_array_equal(panel.lines["weights"].get_ydata(), barrier[metric].sel(alignment="weights"))
    assert panel.legend.get_texts()[0].get_text().startswith("weights  0.012")
    xr.testing.assert_identical(chosen, before)
    assert list(plot_barrier(chosen.expand_dims("pair")).panels["loss"].lines) == ["weights"]


@pytest.mark.parametrize("path", ["x.nc", Path("x.nc")])
def test_a_path_is_no_dataset(barrier: xr.Dataset, path: object):
    with pytest.raises(UsageError, match=r"lmc\.plot_barrier\(xarray\.open_dataset\('x\.nc'\)\)"):
        plot_barrier(path)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not a DataArray"):
        plot_barrier(barrier["loss"])  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_path_is_still_drawn(barrier: xr.Dataset, value: float):
    barrier["loss"][0, 12] = barrier["loss_ci"][0, 12] = barrier["loss_barrier"][0] = value
    barrier["accuracy"][:, -1] = np.nan
    panels = plot_barrier(barrier).panels
    assert panels["loss"].legend.get_texts()[0].get_text().startswith(f"none  {value}")
    assert [mark.get_text() for mark in panels["accuracy"].ends] == ["A"]


def test_the_dataset_and_matplotlib_stay_as_they_were(barrier: xr.Dataset):
    before, settings = barrier.copy(deep=True), dict(matplotlib.rcParams)
    plot_barrier(barrier)
    plot_barrier(barrier, ax=own_axes(2))
    xr.testing.assert_identical(barrier, before)
    assert dict(matplotlib.rcParams) == settings
    with house_style():
        assert dict(matplotlib.rcParams) != settings, "the comparison can fail"


def test_a_notebook_shows_our_figure_and_leaves_those_of_pyplot_to_it(barrier: xr.Dataset):
    artists = plot_barrier(barrier, metric="loss")
    assert artists._repr_png_().startswith(b"\x89PNG")
    artists.figure.canvas.manager = object()
    assert artists._repr_png_() is None


def test_drawing_needs_neither_torch_nor_pyplot():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from conftest import fake_barrier; from lmc.plotting import plot_barrier\n"
        "plot_barrier(fake_barrier())._repr_png_()\n"
        "print(sorted({'torch', 'ot', 'matplotlib.pyplot', 'matplotlib.figure'} & set(sys.modules)))"
    )
    folder = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['matplotlib.figure']", "figure shows that the probe sees what is imported"
