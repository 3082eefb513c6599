"""Figures of all pairs of checkpoints: each value in its cell, the two triangles, the order, the marks."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest
import xarray as xr
from fake_pairs import MODELS, fake_conjecture, fake_sweep, family
from matplotlib.figure import Figure

from lmc._errors import SchemaError, UsageError
from lmc.plotting import plot_barrier_matrix, plot_verdicts


def value(dataset: xr.Dataset, a: str, b: str, alignment: str) -> float:
    here = (dataset["a"] == a) & (dataset["b"] == b) | (dataset["a"] == b) & (dataset["b"] == a)
    found = dataset["loss_barrier"].sel(alignment=alignment, baseline="chord").where(here, drop=True)
    return float(found.item())


def test_before_is_above_the_diagonal_and_after_below():
    dataset = fake_sweep()
    artists = plot_barrier_matrix(dataset)
    shown = artists.image.get_array()
    assert sorted(artists.models) == sorted(MODELS)
    for i, j in itertools.permutations(range(len(MODELS)), 2):
        expected = value(dataset, artists.models[i], artists.models[j], "none" if j > i else "weights")
        assert shown[i, j] == pytest.approx(expected)
    assert shown[0, 1] != pytest.approx(shown[1, 0]), "the comparison can fail"
    assert shown.mask.diagonal().all()
    assert artists.axes.get_title(loc="left").split("\n") == ["above the diagonal: none", "below it: weights"]
    assert artists.colorbar.ax.get_ylabel() == "loss barrier above the chord (nats)"


def test_clustering_puts_families_side_by_side_and_can_be_left_out():
    artists = plot_barrier_matrix(fake_sweep())
    families = [family(name) for name in artists.models]
    assert families in (["a", "a", "a", "b", "b"], ["b", "b", "a", "a", "a"])
    assert len(artists.tree.get_segments()) == len(MODELS) - 1
    plain = plot_barrier_matrix(fake_sweep(), clustered=False)
    assert plain.models == MODELS and plain.tree is None
    assert [family(name) for name in plain.models] == ["a", "b", "a", "b", "a"], "the order of the dataset has none"


def test_metric_alignments_and_baseline_are_chosen():
    dataset = fake_sweep()
    error = plot_barrier_matrix(dataset, metric="error", before="weights", after="none", baseline="mean")
    assert error.image.get_array()[-1, 0] == pytest.approx(0.3)
    assert error.colorbar.ax.get_ylabel() == "error barrier above the mean end"
    with pytest.raises(UsageError, match=r"Unknown alignment 'weihts'\. Did you mean 'weights'\?"):
        plot_barrier_matrix(dataset, after="weihts")
    with pytest.raises(UsageError, match="needs the variable 'error_barrier'"):
        plot_barrier_matrix(fake_sweep(accuracy=False), metric="error")


def test_a_pair_without_a_value_is_left_empty():
    dataset = fake_sweep()
    dataset["loss_barrier"][0, 1] = np.nan
    artists = plot_barrier_matrix(dataset, clustered=False)
    assert artists.image.get_array().mask.sum() == len(MODELS) + 1
    assert len(artists.numbers) == len(MODELS) * (len(MODELS) - 1) - 1
    assert plot_barrier_matrix(dataset).tree is not None, "what is not known counts as far"


def test_a_pair_twice_is_refused():
    twice = xr.concat([fake_sweep(), fake_sweep()], dim="pair", data_vars="minimal")
    with pytest.raises(UsageError, match="are a pair twice"):
        plot_barrier_matrix(twice)


def test_of_a_conjecture_the_chosen_method_is_below():
    dataset = fake_conjecture()
    dataset["method"][0] = "none"
    artists = plot_barrier_matrix(dataset, clustered=False)
    shown = artists.image.get_array()
    assert shown[1, 0] == pytest.approx(0.3) and shown[2, 0] < 0.01
    assert "the method chosen for each pair" in artists.axes.get_title(loc="left")
    with pytest.raises(UsageError, match="of the error, not of the loss"):
        plot_barrier_matrix(dataset, metric="loss")


def test_every_verdict_has_its_mark_colour_and_number():
    dataset = fake_conjecture()
    artists = plot_verdicts(dataset)
    marks = {"connected": "o", "not connected by anything tried": "x", "undecided": "$?$"}
    colors = {word: set() for word in marks}
    for pair, word in zip(artists.marks, map(str, dataset["verdict"].values), strict=True):
        first, second = sorted(artists.models.index(name) for name in pair)
        assert artists.marks[pair].get_marker() == marks[word]
        assert artists.marks[pair].get_xydata().tolist() == [[first, second]], "below the diagonal"
        colors[word] |= {cell.get_facecolor() for cell in artists.cells[pair]}
    assert all(len(found) == 1 for found in colors.values()) and len(set.union(*colors.values())) == 3
    assert artists.numbers[MODELS[0], MODELS[1]].get_text() == "12.0%"
    legend = [text.get_text() for text in artists.legend.get_texts()]
    assert legend == ["connected: 4 of 10", "undecided: 1 of 10", "not connected by anything tried: 5 of 10"]
    assert artists.legend.get_title().get_text() == "1 of 6 checkpoints set aside"


@pytest.mark.parametrize(("draw", "make"), [(plot_barrier_matrix, fake_sweep), (plot_verdicts, fake_conjecture)])
def test_nothing_is_clipped_and_many_checkpoints_fit(draw, make):
    many = [f"a-rather-long-folder/{f}-width-64-seed-{i}.safetensors" for i in range(10) for f in "ab"]
    for models in (MODELS, many):
        figure = draw(make(models)).figure
        figure.draw_without_rendering()
        tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height
        labels = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(labels))


@pytest.mark.parametrize(("draw", "make"), [(plot_barrier_matrix, fake_sweep), (plot_verdicts, fake_conjecture)])
def test_own_axes_dataset_and_matplotlib_stay_theirs(draw, make, barrier):
    dataset, settings = make(), dict(matplotlib.rcParams)
    before, ax = dataset.copy(deep=True), Figure().subplots()
    assert draw(dataset, ax=ax).axes is ax
    draw(dataset)
    xr.testing.assert_identical(dataset, before)
    assert dict(matplotlib.rcParams) == settings
    with pytest.raises(SchemaError, match="is needed, this one is of kind 'barrier'"):
        draw(barrier)
