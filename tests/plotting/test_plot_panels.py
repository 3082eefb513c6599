"""Small multiples and the inset of the barrier figure: which pairs are in which panel, which lines are shown larger."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
import xarray as xr
from fake_pairs import fake_sweep, fake_widths
from matplotlib.figure import Figure

from lmc._errors import UsageError
from lmc.plotting import natural_figure, plot_barrier, plot_barrier_panels

CROWDED = {"none": 1.2, "weights": 0.06, "ot": 0.1}


def test_each_width_has_a_panel_with_its_pairs_and_their_mean():
    dataset = fake_widths((32, 64), each=3)
    artists = plot_barrier_panels(dataset, metric="error")
    assert list(artists.axes) == ["width 32", "width 64"] == [ax.get_title() for ax in artists.axes.values()]
    error = 1 - dataset["accuracy"].sel(alignment="weights").values
    thin = artists.pairs["width 64", "weights"]
    np.testing.assert_allclose([line.get_ydata() for line in thin], error[3:])
    np.testing.assert_allclose(artists.lines["width 64", "weights"].get_ydata(), error[3:].mean(axis=0))
    assert not np.allclose(error[:3].mean(axis=0), error[3:].mean(axis=0)), "the panels differ"
    assert not artists.bands
    assert artists.legend.get_title().get_text() == "means over pairs (thin: the pairs)"


def test_each_pair_has_a_panel_with_its_interval():
    dataset = fake_sweep()
    artists = plot_barrier_panels(dataset)
    assert list(artists.axes)[:2] == ["a-1 – b-1", "a-1 – a-2"] and len(artists.axes) == 10
    band = artists.bands["a-1 – a-2", "weights"].get_paths()[0].vertices
    interval = dataset["loss_ci"].isel(pair=1).sel(alignment="weights").values
    ends = zip(dataset["t"].values, interval, strict=True)
    assert {tuple(point) for point in band} == {(x, y) for x, row in ends for y in row}
    assert not any(artists.pairs.values())
    limits = {ax.get_ylim() for ax in artists.axes.values()}
    assert len(limits) == 1, "one axis for all panels"


def test_stacked_barriers_are_drawn_too(barrier: xr.Dataset):
    stacked = xr.concat([barrier, barrier], dim="pair", data_vars="all")
    assert natural_figure(stacked) == "barrier-panels" and natural_figure(barrier) == "barrier"
    assert list(plot_barrier_panels(stacked).axes) == ["pair 0", "pair 1"]


def test_a_pair_that_failed_is_left_out_of_the_mean():
    dataset = fake_widths((32, 64), each=2)
    whole = plot_barrier_panels(dataset, over="width").lines["width 32", "none"].get_ydata()
    dataset["loss"][0] = np.nan
    found = plot_barrier_panels(dataset, over="width").lines["width 32", "none"].get_ydata()
    np.testing.assert_allclose(found, dataset["loss"][1].sel(alignment="none"))
    assert np.isfinite(whole).all()


def test_requests_that_make_no_sense_are_refused(barrier: xr.Dataset):
    with pytest.raises(UsageError, match="one pair"):
        plot_barrier_panels(barrier)
    with pytest.raises(UsageError, match=r"Unknown coordinate 'widht'\. Did you mean 'width'\?"):
        plot_barrier_panels(fake_widths(), over="widht")
    with pytest.raises(UsageError, match=r"20 panels .* more than 16"):
        plot_barrier_panels(fake_widths(range(1, 21)))
    with pytest.raises(UsageError, match="There are 4 panels"):
        plot_barrier_panels(fake_widths(), ax=[Figure().subplots()])


@pytest.mark.parametrize("size", ["column", "slide"])
def test_nothing_is_clipped_and_matplotlib_stays_as_it_was(size: str):
    dataset, settings = fake_sweep(), dict(matplotlib.rcParams)
    before = dataset.copy(deep=True)
    figure = plot_barrier_panels(dataset, size=size).figure
    figure.draw_without_rendering()
    tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height
    xr.testing.assert_identical(dataset, before)
    assert dict(matplotlib.rcParams) == settings


def test_lines_that_crowd_are_shown_larger_where_there_is_room(make_barrier: Callable[..., xr.Dataset]):
    panels = plot_barrier(make_barrier(CROWDED)).panels
    for panel in panels.values():
        shown = [line.get_ydata() for line in panel.inset.get_lines()]
        for name in ("weights", "ot"):
            assert any(np.array_equal(panel.lines[name].get_ydata(), y) for y in shown)
        assert not any(np.array_equal(panel.lines["none"].get_ydata(), y) for y in shown)
        high = panel.lines["none"]
        inside, outside = panel.inset.get_window_extent(), panel.axes.transData.transform(high.get_xydata())
        assert not any(inside.contains(*point) for point in outside), "the high line is not covered"


def test_lines_that_do_not_crowd_have_no_inset(make_barrier: Callable[..., xr.Dataset]):
    for heights in ({"none": 1.2, "weights": 0.06}, {"none": 1.2, "weights": 0.6, "ot": 0.3}, {"a": 1, "b": 1, "c": 1}):
        assert all(panel.inset is None for panel in plot_barrier(make_barrier(heights)).panels.values())
    crowded = make_barrier(CROWDED)
    assert plot_barrier(crowded, inset=False).panels["loss"].inset is None
    assert plot_barrier(crowded, ax=Figure().subplots()).panels["loss"].inset is None, "the user's axes are theirs"
    assert plot_barrier(crowded, ax=Figure().subplots(), inset=True).panels["loss"].inset is not None
