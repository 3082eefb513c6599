"""Barriers against a size: the points are the pairs, the line their means, the bars their intervals."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import xarray as xr
from fake_pairs import fake_sweep, fake_widths
from matplotlib.figure import Figure

from lmc._errors import SchemaError, UsageError
from lmc.plotting import natural_figure, plot_scaling


def with_depths(depths: tuple[int, ...] = (1, 2)) -> xr.Dataset:
    parts = [fake_widths().assign_coords(depth=("pair", [depth] * 4)) for depth in depths]
    return xr.concat(parts, dim="pair", data_vars="minimal")


def test_the_line_goes_through_the_means_and_the_points_are_the_pairs():
    dataset = fake_widths(each=3)
    artists = plot_scaling(dataset)
    line = artists.lines["", "weights"]
    np.testing.assert_array_equal(line.get_xdata(), [32, 64, 128, 256])
    np.testing.assert_allclose(line.get_ydata(), 1.1 * 30 / np.array([32, 64, 128, 256]))
    points = artists.bars["", "weights"].lines[0]
    np.testing.assert_array_equal(points.get_xdata(), dataset["width"])
    np.testing.assert_allclose(points.get_ydata(), dataset["loss_barrier"].sel(alignment="weights", baseline="chord"))
    assert not np.allclose(points.get_ydata()[::3], line.get_ydata()), "means are not the first pairs"
    assert artists.legend.get_title().get_text() == "lines: means; points: pairs; bars: 95% interval"


def test_bars_reach_from_bound_to_bound():
    dataset = fake_widths()
    (_, _, (segments,)) = plot_scaling(dataset, metric="error").bars["", "weights"].lines
    found = np.array([segment[:, 1] for segment in segments.get_segments()])
    expected = dataset["error_barrier_ci"].sel(alignment="weights", baseline="chord").values
    np.testing.assert_allclose(found, expected)
    assert not np.allclose(found, expected[:, ::-1]), "the comparison can fail"


def test_axes_are_logarithmic_where_values_are_spread():
    ax = plot_scaling(fake_widths()).axes[""]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["32", "64", "128", "256"]
    near = plot_scaling(fake_widths((1, 2, 3), name="depth")).axes[""]
    assert near.get_xscale() == "linear" and near.get_xticks().tolist() == [1, 2, 3]
    zero = fake_widths()
    zero["loss_barrier"][0] = 0.0
    assert plot_scaling(zero).axes[""].get_yscale() == "linear", "zero has no logarithm"
    assert plot_scaling(fake_widths(), log="").axes[""].get_xscale() == "linear"


def test_a_second_coordinate_has_a_panel_for_each_value():
    artists = plot_scaling(with_depths(), x="width")
    assert list(artists.axes) == ["1", "2"]
    assert [ax.get_title() for ax in artists.axes.values()] == ["depth 1", "depth 2"]
    assert set(artists.lines) == {(panel, name) for panel in "12" for name in ("none", "weights")}
    turned = plot_scaling(with_depths(), x="depth", by="width")
    assert list(turned.axes) == ["32", "64", "128", "256"]


def test_references_are_drawn_in_every_panel_and_named():
    artists = plot_scaling(with_depths(), horizontal={"tolerance": 0.2}, vertical={"examples": 100.0})
    assert [line.get_ydata()[0] for line in artists.references["tolerance"]] == [0.2, 0.2]
    assert [line.get_xdata()[0] for line in artists.references["examples"]] == [100, 100]
    entries = [text.get_text() for text in artists.legend.get_texts()]
    assert entries == ["none", "weights", "tolerance", "examples"]


def test_labels_say_what_is_drawn():
    dataset = fake_widths((0.01, 0.1), name="lr")
    ax = plot_scaling(dataset, metric="error", baseline="mean").axes[""]
    assert ax.get_xlabel() == "learning rate"
    assert ax.get_ylabel().replace("\n", " ") == "error barrier above the mean end"
    assert plot_scaling(fake_widths()).axes[""].get_ylabel().replace("\n", " ") == "loss barrier above the chord (nats)"


def test_what_was_not_measured_is_left_out():
    dataset = fake_widths()
    dataset["loss_barrier"][1, 1] = np.nan
    artists = plot_scaling(dataset)
    assert artists.lines["", "weights"].get_xdata().tolist() == [32, 128, 256]
    assert artists.lines["", "none"].get_xdata().size == 4


def test_requests_that_make_no_sense_are_refused(barrier: xr.Dataset):
    with pytest.raises(UsageError, match=r"Unknown x 'widht'\. Did you mean 'width'\?"):
        plot_scaling(fake_widths(), x="widht")
    with pytest.raises(UsageError, match="No coordinate of the pairs varies"):
        plot_scaling(fake_sweep())
    with pytest.raises(UsageError, match="There are 2 panels"):
        plot_scaling(with_depths(), ax=Figure().subplots())
    with pytest.raises(UsageError, match="Unknown log 'z'"):
        plot_scaling(fake_widths(), log="z")
    with pytest.raises(SchemaError, match="'sweep' is needed, this one is of kind 'barrier'"):
        plot_scaling(barrier)


def test_it_is_natural_where_something_varies():
    assert natural_figure(fake_widths()) == "scaling"
    assert natural_figure(fake_sweep()) == "barrier-matrix"


def test_nothing_is_clipped_and_matplotlib_stays_as_it_was():
    dataset, settings = with_depths(), dict(matplotlib.rcParams)
    before = dataset.copy(deep=True)
    for size in ("column", "slide"):
        figure = plot_scaling(dataset, size=size, horizontal={"a published value": 0.3}).figure
        figure.draw_without_rendering()
        tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height
    axes = list(Figure().subplots(1, 2))
    assert list(plot_scaling(dataset, ax=axes).axes.values()) == axes
    xr.testing.assert_identical(dataset, before)
    assert dict(matplotlib.rcParams) == settings
