"""Quantities beside the barriers: against curves whose answer is known, and against the slow way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmc import schema
from lmc._errors import ArchitectureError, GridError, UsageError
from lmc.barriers import (
    Setting,
    activation_closeness,
    broken_share,
    chord_barrier,
    class_barriers,
    end_curvature,
    example_barrier,
    hessian_sharpness,
    make_grid,
    measure_barrier,
    weight_distance,
)
from lmc.datasets import StreamedData, as_data
from lmc.interpolation import LinearPath
from lmc.testing import fake_classification, tiny_cnn, tiny_mlp

DATA = as_data(fake_classification((6,), examples=80))
NET = tiny_mlp()
PATH = LinearPath(tiny_mlp(seed=1).state_dict(), tiny_mlp(seed=2).state_dict())
EVERY = ("closeness", "disagreement", "sharpness")


@pytest.fixture(scope="module")
def measured():
    return measure_barrier(NET, PATH, DATA, points=9, resamples=20, also=EVERY).isel(alignment=0)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
def test_the_curvature_of_a_parabola_is_exact_on_any_grid(a, b, c):
    t = np.array([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
    np.testing.assert_allclose(end_curvature(a * t**2 + b * t + c, t), [2 * a, 2 * a], atol=1e-10)


def test_the_curvature_of_others_gets_better_with_the_grid():
    errors = [abs(end_curvature(np.exp(make_grid(n)), make_grid(n))[0] - 1) for n in (11, 21, 41)]
    assert errors[0] > 1.9 * errors[1] > 3.6 * errors[2]


def test_a_curvature_needs_three_positions():
    with pytest.raises(GridError, match="three positions"):
        end_curvature([0.0, 1.0], [0.0, 1.0])


def test_each_example_is_held_against_its_own_chord(measured):
    loss, t = measured.example_loss.values, measured.t.values
    for i in (0, 7, 79):
        assert measured.example_barrier[i] == pytest.approx(chord_barrier(loss[:, i], t), rel=1e-6, abs=1e-7)
    mean = float(measured.example_barrier.mean())
    assert mean >= float(measured.loss_barrier.sel(baseline="chord")) - 1e-6
    assert np.all(example_barrier(loss, t) >= 0)


def test_classes_are_measured_apart_and_absent_ones_left_out():
    t = make_grid(3)
    values = np.array([[[0.0, 0.0, 0.0], [1.0, 3.0, 5.0], [0.0, 0.0, 0.0]]])
    classes, barriers = class_barriers(values, [4, 4, 9], t)
    assert classes.tolist() == [4, 9] and barriers.tolist() == [[2.0, 5.0]]
    with pytest.raises(GridError, match="one each"):
        class_barriers(values, [4, 4], t)


def test_classes_weighted_by_their_examples_give_the_whole_curve(measured):
    """No class may fall out: with one class, its barrier is the barrier."""
    found = measure_barrier(NET, PATH, as_data((DATA.inputs, torch.zeros(80, dtype=torch.int64))), resamples=5)
    one = found.isel(alignment=0)
    assert one["class"].values.tolist() == [0]
    assert float(one.class_loss_barrier[0]) == pytest.approx(float(one.loss_barrier.sel(baseline="chord")), rel=1e-9)
    assert float(one.class_error_barrier[0]) == pytest.approx(float(one.error_barrier.sel(baseline="chord")), abs=1e-9)
    assert measured.example_target.values.tolist() == DATA.targets.tolist()


def test_broken_counts_what_both_ends_have_right():
    right = np.array([[1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 0, 1, 1]], dtype=bool)  # rows are t = 0, 1/2, 1
    assert broken_share(right, [0.0, 0.5, 1.0]) == pytest.approx(1 / 5)
    with pytest.raises(GridError, match="midpoint"):
        broken_share(right, [0.0, 0.4, 1.0])


def test_distances_leave_buffers_and_second_copies_out():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    a, b = ({k: torch.zeros_like(v) for k, v in net.state_dict().items()} for _ in range(2))
    b["0.weight"] = b["2.weight"] = torch.ones(3, 3)
    b["1.running_mean"] += 7
    b["1.weight"] += 4
    assert weight_distance(net, a, b)[0] == pytest.approx((9 + 3 * 16) ** 0.5)
    c = {k: 2 * v for k, v in b.items()}
    assert weight_distance(net, b, c)[1] == pytest.approx(1.0)


def test_alignment_brings_the_ends_closer_and_is_seen(measured):
    state = PATH.ends[0]
    still = measure_barrier(NET, LinearPath(state, state), DATA, points=3, resamples=5).isel(alignment=0)
    assert still.weight_distance == 0 and still.weight_cosine == pytest.approx(1) and still.broken == 0
    assert measured.weight_distance > 0.1 and measured.weight_cosine < 0.9


def test_disagreement_is_that_of_the_predictions(measured):
    x = DATA.inputs
    predicted = [torch.func.functional_call(NET, PATH.at(t), (x,)).argmax(1) for t in (0.0, 0.5, 1.0)]
    expected = [(predicted[i] != predicted[j]).double().mean().item() for i, j in ((0, 2), (0, 1), (1, 2))]
    np.testing.assert_allclose(measured.disagreement, expected)
    assert measured.comparison.values.tolist() == list(schema.COMPARISONS)


def test_activations_of_a_linear_first_layer_are_close_and_later_ones_are_not():
    setting = Setting(NET, DATA, make_grid(3), (None, None), dtype=torch.float64)
    found = activation_closeness(setting, PATH)
    layers, values = found["module"][1], found["closeness"][1]
    assert layers == ["0", "2", "4"] and values[0] < 1e-12 < 1e-4 < min(values[1:])
    x, net = DATA.inputs.double(), tiny_mlp().double()
    outputs = [torch.func.functional_call(net, to64(PATH.at(t)), (x,)) for t in (0, 0.5, 1)]
    mean = (outputs[0] + outputs[2]) / 2
    assert values[2] == pytest.approx(float((outputs[1] - mean).square().sum() / mean.square().sum()))


def to64(state):
    return {name: tensor.double() for name, tensor in state.items()}


def test_activations_in_place_do_not_write_into_what_is_compared():
    def network(inplace: bool) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=inplace), nn.Linear(8, 3))

    torch.manual_seed(0)
    path = LinearPath(network(False).state_dict(), network(False).state_dict())
    found = [
        activation_closeness(Setting(network(inplace), DATA, make_grid(3), (None, None)), path)["closeness"][1]
        for inplace in (False, True)
    ]
    assert found[0] == found[1]
    assert found[0][0] < 1e-10 < found[0][1], "a linear first layer is close, the next is not"


def test_a_network_without_layers_has_no_closeness():
    with pytest.raises(ArchitectureError, match="no layer"):
        activation_closeness(Setting(nn.Flatten(), DATA, make_grid(3), (None, None)), LinearPath({}, {}))


def full_hessian(net: nn.Module, state, x, y) -> torch.Tensor:
    names = list(state)
    flat = torch.cat([state[name].double().reshape(-1) for name in names])
    sizes = [state[name].numel() for name in names]

    def loss(vector):
        parts = {n: p.view_as(state[n]) for n, p in zip(names, vector.split(sizes), strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(net, parts, (x.double(),)), y)

    return torch.autograd.functional.hessian(loss, flat)


def test_sharpness_is_the_largest_eigenvalue():
    net = tiny_mlp()
    setting = Setting(net, DATA, make_grid(3), (None, None), dtype=torch.float64, batch_size=17)
    found = hessian_sharpness(setting, PATH, 0.0)
    values = torch.linalg.eigvalsh(full_hessian(net, PATH.ends[0], DATA.inputs, DATA.targets))
    assert found.converged and found.value == pytest.approx(float(values[-1]), rel=0.02)


def test_sharpness_at_a_maximum_is_not_the_eigenvalue_of_largest_magnitude():
    """Loss -w0^2 + w1^2/4: the Hessian has eigenvalues -2 and 1/2."""

    class Quadratic(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return (self.w**2).expand(len(x), 2)

    data = as_data((torch.ones(5, 1), torch.zeros(5, 2)))
    weights = torch.tensor([-1.0, 0.25])
    setting = Setting(Quadratic(), data, make_grid(3), (None, None), lambda out, y: out @ weights)
    state = {"w": torch.zeros(2)}
    assert hessian_sharpness(setting, LinearPath(state, state), 0.0).value == pytest.approx(0.5, rel=1e-2)


def test_sharpness_of_attention_and_batchnorm_is_possible(measured):
    from lmc.architectures import resolve

    gpt = resolve("gpt?dim=8&heads=2&depth=1&vocab=5&block=4").module
    tokens = torch.randint(5, (6, 5), generator=torch.Generator().manual_seed(0))
    data = as_data((tokens[:, :4], tokens[:, 1:]), task="tokens")
    for net, known in ((gpt, data), (tiny_cnn(), as_data(fake_classification((1, 8, 8), examples=10)))):
        still = LinearPath(net.state_dict(), net.state_dict())
        assert hessian_sharpness(Setting(net, known, make_grid(3), (None, None)), still, 0.0).value > 0
    assert bool(measured.sharpness_converged.all())


def test_top5_counts_the_five_best():
    net = nn.Linear(3, 8)
    data = as_data((torch.randn(50, 3, generator=torch.Generator().manual_seed(1)), torch.arange(50) % 8))
    path = LinearPath(net.state_dict(), {k: -v for k, v in net.state_dict().items()})
    found = measure_barrier(net, path, data, points=3, resamples=5, also=["top5"]).isel(alignment=0)
    best = net(data.inputs).topk(5).indices
    assert float(found.top5_accuracy[0]) == pytest.approx(float((best == data.targets[:, None]).any(1).float().mean()))
    assert (found.top5_accuracy >= found.accuracy).all()
    with pytest.raises(UsageError, match="more than 5 classes"):
        measure_barrier(NET, PATH, DATA, points=3, also=["top5"])


def test_unknown_quantities_are_named_with_the_nearest_before_any_work():
    with pytest.raises(UsageError, match="Did you mean 'sharpness'"):
        measure_barrier(NET, PATH, StreamedData([], (6,)), also=["sharpnes"])


def test_regression_and_streams_leave_out_what_has_no_meaning():
    net = tiny_mlp()
    data = as_data((DATA.inputs, torch.randn(80, 3, generator=torch.Generator().manual_seed(0))))
    found = measure_barrier(net, PATH, data, points=3, resamples=5)
    assert "loss_curvature" in found and "example_barrier" in found
    assert not {"broken", "class_loss_barrier", "accuracy", "example_target"} & set(found)
    assert found.loss_curvature.attrs["units"] == found.example_barrier.attrs["units"] == "1", "no nats"
    for name in ("disagreement", "top5"):
        with pytest.raises(UsageError, match="regression"):
            measure_barrier(net, PATH, data, points=3, also=[name])
    batches = list(DATA.batches(32))
    streamed = measure_barrier(net, PATH, StreamedData(batches, (6,)), points=3, resamples=5)
    assert "broken" in streamed and "class_loss_barrier" not in streamed
