"""The figures of an alignment, by structure: what lies where, in which order, and what is said beside it."""

from __future__ import annotations

import numpy as np
import pytest
from fake_alignment import fake_alignment
from matplotlib.figure import Figure

from lmc._errors import SchemaError, UsageError
from lmc.plotting import plot_coupling, plot_matching


def test_a_permutation_is_its_displacement():
    drawn = plot_coupling(fake_alignment())
    assert list(drawn.panels) == ["first", "heads"] and drawn.colorbar is None
    points = drawn.panels["first"].points
    assert points is not None
    assert np.array_equal(points.get_offsets(), [[0, 1], [1, -1], [2, 0], [3, 0]])
    colours = points.get_facecolors()
    assert np.array_equal(colours[2], colours[3]) and not np.array_equal(colours[0], colours[2])
    inside = drawn.panels["heads"].points
    assert inside is not None
    assert np.array_equal(inside.get_offsets(), [[0, 1], [1, -1], [2, 0], [3, 0]]), "sources count through the blocks"
    lines = drawn.panels["first"].statistics.get_text().split("\n")
    assert lines == ["first", "2 of 4 units moved", "cosine −0.06 → 0.35"]


def test_a_plan_is_an_image_with_the_firmest_units_first():
    drawn = plot_coupling(fake_alignment(plan=True))
    first, heads = drawn.panels["first"], drawn.panels["heads"]
    assert first.image is not None and first.points is None
    assert heads.image is None and heads.points is not None, "a group without a plan is a permutation"
    # Rows are places 0, 2, 1, 3, columns their partners 1, 2, 0, 3.
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0.1, 0.9, 0], [0, 0, 0.5, 0.5]]
    assert np.allclose(first.image.get_array(), expected)
    assert "85% kept, 1.4 partners" in first.statistics.get_text()
    assert "kept" not in heads.statistics.get_text()
    assert drawn.colorbar is not None and "share" in drawn.colorbar.ax.get_ylabel()


def test_without_order_the_image_would_be_another():
    dataset = fake_alignment(plan=True)
    mass = np.zeros((4, 4))
    mass[dataset.plan_place.values, dataset.plan_unit.values] = dataset.plan_mass.values * 4
    image = plot_coupling(dataset).panels["first"].image
    assert image is not None and not np.allclose(image.get_array(), mass)


def test_the_user_says_what_is_drawn_and_where():
    dataset = fake_alignment(plan=True)
    axes = Figure().subplots()
    drawn = plot_coupling(dataset, ax=axes, groups=["first"], show="permutation")
    assert drawn.panels["first"].axes is axes and drawn.panels["first"].points is not None
    with pytest.raises(UsageError, match="Did you mean 'heads'"):
        plot_coupling(dataset, groups=["head"])
    with pytest.raises(UsageError, match="2 groups need as many axes, ax has 1"):
        plot_coupling(dataset, ax=axes)
    with pytest.raises(UsageError, match="holds no plan"):
        plot_coupling(fake_alignment(), show="plan")
    with pytest.raises(SchemaError, match="similarity_after"):
        plot_matching(dataset.drop_vars("similarity_after"))


def test_matching_has_medians_and_spans_of_every_group_before_and_after():
    dataset = fake_alignment(correlation=True)
    drawn = plot_matching(dataset)
    assert list(drawn.panels) == ["similarity", "correlation"]
    panel = drawn.panels["similarity"]
    assert set(panel.medians) == {(name, when) for name in ("first", "heads") for when in ("before", "after")}
    after = dataset.similarity_after.values[:4]
    assert panel.medians["first", "after"].get_xdata()[0] == pytest.approx(np.median(after))
    assert np.allclose(panel.spans["first", "after"].get_xdata(), np.quantile(after, [0.05, 0.95]))
    heights = {key: line.get_ydata()[0] for key, line in panel.medians.items()}
    assert heights["first", "before"] < heights["first", "after"] < heights["heads", "before"]
    assert panel.axes.yaxis_inverted(), "the first group stands on top"
    assert [tick.get_text() for tick in panel.axes.get_yticklabels()] == ["first", "heads"]
    assert [text.get_text() for text in drawn.legend.get_texts()] == ["before alignment", "after alignment"]


def test_what_is_not_known_is_not_drawn():
    panel = plot_matching(fake_alignment(correlation=True), measure="correlation").panels["correlation"]
    assert ("heads", "after") not in panel.medians and ("heads", "before") in panel.medians
    assert panel.medians["first", "after"].get_xdata()[0] == pytest.approx(0.6)
    with pytest.raises(UsageError, match="holds no correlations"):
        plot_matching(fake_alignment(), measure="correlation")
