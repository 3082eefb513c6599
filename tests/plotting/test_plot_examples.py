"""The figure of examples that break, by structure."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from plotting.conftest import fake_barrier

from lmc._errors import UsageError
from lmc.plotting import plot_examples


def broken() -> xr.Dataset:
    """Make a result in which example 7 breaks most without alignment, then 3, then 9; and 1 with alignment."""
    dataset = fake_barrier(points=5, examples=12)
    barriers = np.zeros((2, 12), dtype=np.float32)
    barriers[0, [7, 3, 9, 5]] = 3.0, 2.0, 1.0, np.nan
    barriers[1, 1] = 0.5
    dims = ("alignment", "example")
    labels = {"long_name": "barrier of each example", "units": "nats"}
    target = ("example", np.arange(12) % 3, {"long_name": "class", "units": "1"})
    return dataset.assign(example_barrier=(dims, barriers, labels), example_target=target)


def test_examples_stand_in_the_order_of_their_barriers():
    dataset = broken()
    drawn = plot_examples(dataset, count=3)
    assert list(drawn.cells) == [7, 3, 9]
    cell = drawn.cells[7]
    assert cell.title.get_text() == "7, class 1\nrises 3.00"
    assert np.allclose(cell.lines["none"].get_ydata(), dataset.example_loss.sel(alignment="none", example=7))
    assert list(cell.lines) == ["none", "weights"] and cell.shown is None
    assert "with none" in drawn.legend.get_title().get_text()
    assert next(iter(plot_examples(dataset, alignment="weights").cells)) == 1
    assert 5 not in plot_examples(dataset, count=12).cells, "an unknown barrier has no place in an order"


def test_images_are_those_of_the_examples():
    images = np.arange(12)[:, None, None, None] * np.ones((1, 1, 4, 4))
    drawn = plot_examples(broken(), examples=images, count=3)
    shown = [cell.shown.get_array() for cell in drawn.cells.values()]  # type: ignore[union-attr]
    assert [one.shape for one in shown] == [(4, 4)] * 3
    means = [float(one.mean()) for one in shown]
    assert means[0] < means[2] and means[1] < means[0], "7, 3, 9 by brightness"
    colour = plot_examples(broken(), examples=np.zeros((12, 3, 4, 4)), count=1).cells[7].shown
    assert colour.get_array().shape == (4, 4, 3)  # type: ignore[union-attr]


def test_texts_are_shown_letter_by_letter():
    texts = [f"example {i} costs $x$" for i in range(12)]
    drawn = plot_examples(broken(), examples=texts, count=1, ax=Figure().subplots())
    assert drawn.cells[7].shown.get_text() == "example 7 costs\n\\$x\\$"  # type: ignore[union-attr]


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(UsageError, match="no 'example_barrier'"):
        plot_examples(fake_barrier(points=5))
    with pytest.raises(UsageError, match="There are 5 examples, the dataset has one of index 7"):
        plot_examples(broken(), examples=np.zeros((5, 4, 4)), count=1)
    with pytest.raises(UsageError, match="neither images nor texts"):
        plot_examples(broken(), examples=np.zeros((12, 4)), count=1)
    with pytest.raises(UsageError, match="Did you mean 'weights'"):
        plot_examples(broken(), alignment="weigths")
