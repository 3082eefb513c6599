"""The table of figures: what suits a result is drawn without being named, what does not is refused."""

from __future__ import annotations

import typing

import pytest
import xarray as xr
from fake_pairs import fake_conjecture
from matplotlib.figure import Figure

from lmc import schema
from lmc._errors import SchemaError, UsageError
from lmc.plotting import FIGURES, SIZES, figures_of, plot, plot_barrier
from lmc.plotting.artists import AbstractArtists


def test_every_row_leads_to_a_function_of_kinds_that_exist():
    for figure in FIGURES.values():
        assert figure.load().__name__ == figure.function.partition(":")[2]
        assert figure.kinds and set(figure.kinds) <= set(schema.KINDS)
    assert figures_of("bariers") == []


def test_every_kind_of_result_has_a_figure():
    assert [kind for kind in schema.KINDS if not figures_of(kind)] == []


def test_a_notebook_shows_every_figure_and_leaves_those_of_pyplot_to_it():
    for figure in FIGURES.values():
        artists = typing.get_type_hints(figure.load())["return"]
        assert issubclass(artists, AbstractArtists) and "_repr_png_" not in vars(artists), figure.function
    drawn = plot(fake_conjecture())
    assert drawn._repr_png_().startswith(b"\x89PNG")
    drawn.figure.canvas.manager = object()
    assert drawn._repr_png_() is None
    part = plot(fake_conjecture(), ax=Figure().subfigures().subplots())
    assert part._repr_png_() is None, "of a part, the whole figure is its owner's to show"


def test_the_natural_figure_is_drawn_and_others_by_name(barrier: xr.Dataset, basin: xr.Dataset):
    assert list(plot(barrier).panels["loss"].lines) == ["none", "weights"]
    assert list(plot(basin).panels) == ["loss", "error"]
    assert plot(basin, "basin-surface").axes.get_zlabel() == "loss (nats)"
    assert list(plot(barrier, metric="error").panels) == ["error"], "settings reach the function"


def test_what_has_no_such_figure_is_refused(barrier: xr.Dataset):
    with pytest.raises(UsageError, match=r"Unknown figure 'barier'\. Did you mean 'barrier'\?"):
        plot(barrier, "barier")
    with pytest.raises(UsageError, match=r"kind 'barrier' has no figure 'basin'\. It has: barrier"):
        plot(barrier, "basin")
    with pytest.raises(SchemaError, match="Not a result of lmc"):
        plot(xr.Dataset({"loss": ("t", [1.0, 2.0])}))
    with pytest.raises(SchemaError, match="No variable named 'loss_ci'"):
        plot(barrier.drop_vars("loss_ci"))


@pytest.mark.parametrize("name", FIGURES)
def test_a_path_and_a_variable_are_no_dataset(name: str, barrier: xr.Dataset):
    draw = FIGURES[name].load()
    with pytest.raises(UsageError, match=rf"lmc\.{draw.__name__}\(xarray\.open_dataset\('x\.nc'\)\) draws it"):
        draw("x.nc")
    with pytest.raises(UsageError, match="not a DataArray"):
        draw(barrier["loss"])


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_the_width_of_the_figure(barrier: xr.Dataset, basin: xr.Dataset, size: str):
    for dataset in (barrier, basin) if size == "slide" else (barrier,):
        figure = plot(dataset, size=size).figure
        assert figure.get_figwidth() == pytest.approx(SIZES[size][0])
        figure.draw_without_rendering()  # as saving does
        tight = figure.get_tightbbox()
        assert tight.x0 >= 0 and tight.y0 >= 0
        assert tight.x1 <= figure.get_figwidth() and tight.y1 <= figure.get_figheight()
    with pytest.raises(UsageError, match=r"Unknown size 'colum'\. Did you mean 'column'\?"):
        plot_barrier(barrier, size="colum")


def test_the_accessor_draws_what_the_functions_do(basin: xr.Dataset, barrier: xr.Dataset):
    assert list(basin.lmc.plot().panels) == ["loss", "error"]
    assert list(basin.lmc.plot.basin(metric="loss").panels) == ["loss"]
    assert list(basin.lmc.plot.basin_surface().modes) == ["A", "B", "B aligned"]
    assert "basin_surface" in dir(basin.lmc.plot) and "basin_surface" not in dir(barrier.lmc.plot)
    with pytest.raises(UsageError, match="has no figure 'basin'"):
        barrier.lmc.plot.basin()
    with pytest.raises(AttributeError, match="no figure 'bassin'"):
        _ = basin.lmc.plot.bassin
