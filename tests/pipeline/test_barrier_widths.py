"""Barriers between other widths from Python: one row along the plan, and a word on B's function where B can be run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lmc
from lmc._errors import MismatchError, UsageError
from lmc.pipeline.kept import kept_alignment
from lmc.testing import fake_classification, tiny_cnn, tiny_mlp
from lmc.units import WorkFolder

DATA = fake_classification((6,))


def test_the_end_of_the_row_is_b_carried_and_the_rest_of_it_lies_between():
    a, b = tiny_mlp((6, 8, 7, 3)), tiny_mlp((6, 5, 9, 3), seed=1)
    result = lmc.barrier(a, a.state_dict(), b, DATA, align="ot", points=3)
    assert result.alignment.values.tolist() == ["ot (soft)"]
    spec = lmc.find_symmetries(a, torch.zeros(1, 6))
    end = lmc.align(a.state_dict(), b.state_dict(), spec, method="ot").apply_soft(b.state_dict())
    for t, state in ((0.0, a.state_dict()), (1.0, end)):
        a_copy = tiny_mlp((6, 8, 7, 3))
        a_copy.load_state_dict(state)
        wanted = torch.nn.functional.cross_entropy(a_copy(DATA[0]), DATA[1])
        assert float(result.loss.sel(t=t)[0]) == pytest.approx(wanted.item(), abs=1e-6)
    own = torch.nn.functional.cross_entropy(b(DATA[0]), DATA[1], reduction="none")
    moved = float(np.abs(result.example_loss.values[0, -1] - own.detach().numpy()).mean())
    assert f"B's FUNCTION CHANGED: losses at B move by {moved:.2g} nats" in str(result.alignment_message.values[0])


def test_without_b_as_a_module_the_word_on_its_function_is_left_out():
    a, b = tiny_mlp((6, 8, 7, 3)), tiny_mlp((6, 5, 9, 3), seed=1)
    result = lmc.barrier(a, a.state_dict(), b.state_dict(), DATA, align="ot", points=3)
    assert "was not measured" in str(result.alignment_message.values[0])
    part = lmc.barrier(a, a.state_dict(), b, DATA, align="ot", only="2", points=3)  # a hybrid is not held against B
    assert "was not measured" in str(part.alignment_message.values[0])


def test_statistics_that_are_reset_are_reset_in_b_itself_as_well():
    """The same network under both names: whatever is reset, its function is kept."""
    a = tiny_cnn((1, 4, 6))
    spec = lmc.find_symmetries(a, torch.zeros(1, 1, 8, 8))
    wide = tiny_cnn((1, 8, 12))
    after = lmc.find_symmetries(wide, torch.zeros(1, 1, 8, 8))
    wide.load_state_dict(lmc.fuse([a.state_dict()], spec, target=after, method="wb").state)
    data, training = fake_classification((1, 8, 8)), fake_classification((1, 8, 8), examples=200, seed=1)
    for reset in ({}, {"recalibrate": training}):
        result = lmc.barrier(a, a.state_dict(), wide, data, align="ot", align_data=training, points=3, **reset)
        assert "B's function is kept" in str(result.alignment_message.values[0])


@pytest.mark.parametrize("asked", [("none", "ot"), ("ot", "weights")])
def test_rows_that_no_line_runs_for_are_refused_by_name(asked):
    a, b = tiny_mlp((6, 8, 7, 3)), tiny_mlp((6, 5, 9, 3))
    refused = next(name for name in asked if name != "ot")
    with pytest.raises(UsageError, match=rf"0.weight is \(8, 6\) in A and \(5, 6\) in B.*'{refused}', and keep 'ot'"):
        lmc.barrier(a, a.state_dict(), b, DATA, align=asked)


@pytest.mark.parametrize(("b", "asked"), [((6, 5, 9, 3), "weights"), ((6, 8, 7, 4), "ot"), ((5, 8, 7, 3), "ot")])
def test_what_does_not_fit_is_refused_as_before(b, asked):
    a = tiny_mlp((6, 8, 7, 3))
    with pytest.raises(MismatchError, match="the weights do not fit the network"):
        lmc.barrier(a, a.state_dict(), tiny_mlp(b), DATA, align=asked)


def test_a_plan_between_other_widths_is_kept_as_work(tmp_path):
    a, b = tiny_mlp((6, 8, 7, 3)).state_dict(), tiny_mlp((6, 5, 9, 3), seed=1).state_dict()
    spec = lmc.find_symmetries(tiny_mlp((6, 8, 7, 3)), torch.zeros(1, 6))
    asked = []

    def compute():
        asked.append(1)
        return lmc.align(a, b, spec, method="ot")

    for _ in range(2):
        found = kept_alignment(compute, "ot", a, b, spec, WorkFolder(tmp_path))
    assert len(asked) == 1 and not found.hard and found.soft
    expected = compute().apply_soft(b)
    assert all(torch.equal(found.apply_soft(b)[name], tensor) for name, tensor in expected.items())
