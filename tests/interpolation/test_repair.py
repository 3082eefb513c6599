"""REPAIR: every repaired unit has the interpolated mean and standard deviation, and nothing else is touched."""

from __future__ import annotations

import copy

import pytest
import torch
from repair_networks import CASES, EXAMPLES, data_of, mlp, outputs_of, state_of, vectors
from torch import nn

from lmc.datasets import Normalization, StreamedData
from lmc.interpolation import LinearPath, RecalibratedPath, RepairedPath, repair, repair_report, reset_batchnorm


@pytest.fixture(params=CASES, scope="module")
def case(request):
    make, inputs, treated = CASES[request.param]
    module = make()
    a, b = state_of(module, 1), state_of(module, 2)
    return module, a, b, inputs(), treated


@pytest.mark.parametrize("memory", [2**30, 0], ids=["one batch", "layer by layer"])
@pytest.mark.parametrize("t", [0.25, 0.5])
def test_every_unit_gets_the_interpolated_statistics(case, memory, t) -> None:
    module, a, b, inputs, treated = case
    path = RepairedPath(LinearPath(a, b), module, data_of(inputs), memory=memory, batch_size=30)
    ends = [outputs_of(module, end, inputs, treated) for end in path.ends]
    plain, made = (outputs_of(module, state, inputs, treated) for state in (path.path.at(t), path.at(t)))
    for name, what in treated.items():
        std = (1 - t) * ends[0][name].std(0, False) + t * ends[1][name].std(0, False)
        mean = (1 - t) * ends[0][name].mean(0) + t * ends[1][name].mean(0)
        torch.testing.assert_close(made[name].std(0, False), std, rtol=2e-5, atol=2e-6)
        assert not torch.allclose(plain[name].std(0, False), std, rtol=0.05), "there was nothing to repair"
        if "shift" in what:
            torch.testing.assert_close(made[name].mean(0), mean, rtol=2e-5, atol=5e-6)
        else:
            assert not torch.allclose(made[name].mean(0), mean, rtol=1e-2)


def test_what_is_done_to_each_layer_is_told(case) -> None:
    module, a, b, inputs, treated = case
    path = RepairedPath(LinearPath(a, b), module, data_of(inputs))
    assert {layer.name: layer.treatment for layer in path.layers.layers} == treated
    scaled = sum("only" in what for what in treated.values())
    assert f"REPAIR of {len(treated)} layers" in path.description
    assert ("scaled only" in path.description) == bool(scaled)
    assert ("ends too" in path.description) == any("reset" in what for what in treated.values())


def test_one_pass_and_a_pass_for_each_layer_give_the_same_weights(case) -> None:
    module, a, b, inputs, _ = case
    once, many = (
        RepairedPath(LinearPath(a, b), module, data_of(inputs), memory=memory, batch_size=17, dtype=torch.float64)
        for memory in (2**30, 0)
    )
    assert once._work.in_one_batch and not many._work.in_one_batch
    for first, second in ((once.at(t), many.at(t)) for t in (0.0, 0.5, 1.0)):
        for name in first:
            torch.testing.assert_close(first[name], second[name], rtol=1e-6, atol=1e-7)


def test_the_ends_are_themselves_but_for_batchnorm(case) -> None:
    module, a, b, inputs, _ = case
    path = RepairedPath(LinearPath(a, b), module, data_of(inputs))
    for end, state in zip(path.ends, (a, b), strict=True):
        reset = reset_batchnorm(module, state, data_of(inputs))
        for name, value in reset.items():
            if "running" in name:  # the reset normalises by a batch's own variance, divided by n, this by n - 1
                torch.testing.assert_close(end[name], value, rtol=1.5 / EXAMPLES, atol=1e-2)
                assert not torch.equal(end[name], state[name])
            else:
                assert torch.equal(end[name], value)


def test_the_formula_is_the_identity_at_the_ends_without_being_told(case) -> None:
    """At t = 0, B's statistics have weight 0: the correction itself, not a shortcut, changes nothing."""
    module, a, b, inputs, _ = case
    path = RepairedPath(LinearPath(a, b), module, data_of(inputs), dtype=torch.float64)
    for state, t in ((a, 0.0), (b, 1.0)):
        found = repair(module, state, a, b, data_of(inputs), t=t, dtype=torch.float64)
        for name, value in path.at(t).items():
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-7)


def test_one_layer_left_out_is_seen(case) -> None:
    """The negative control: with one layer as it was, that layer or a later one misses its statistics."""
    module, a, b, inputs, treated = case
    path = RepairedPath(LinearPath(a, b), module, data_of(inputs))
    target, whole, before = path.target(0.5), path.at(0.5), path.path.at(0.5)
    for left in treated:
        partly = {name: before[name] if name.startswith(f"{left}.") else value for name, value in whole.items()}
        made = path.measured(partly, 0.5)
        worst = max(float((made[name].std / target[name].std - 1).abs().max()) for name in treated)
        assert worst > 0.01, left


def test_an_mlp_equals_the_plain_computation() -> None:
    """Layer after layer by hand, in float64, all examples at once."""
    module, x = mlp(), vectors().double()
    a, b = state_of(module, 1), state_of(module, 2)
    found = repair(module, LinearPath(a, b).at(0.3), a, b, data_of(vectors()), t=0.3, dtype=torch.float64)
    inputs = {"a": x, "b": x, "mid": x}
    for name in ("0", "2"):
        y = {}
        for key, state in (("a", a), ("b", b), ("mid", LinearPath(a, b).at(0.3))):
            y[key] = inputs[key] @ state[f"{name}.weight"].double().T + state[f"{name}.bias"].double()
        mean = 0.7 * y["a"].mean(0) + 0.3 * y["b"].mean(0)
        std = 0.7 * y["a"].std(0, False) + 0.3 * y["b"].std(0, False)
        scale = std / y["mid"].std(0, False)
        weight, bias = (LinearPath(a, b).at(0.3)[f"{name}.{part}"].double() for part in ("weight", "bias"))
        torch.testing.assert_close(found[f"{name}.weight"].double(), scale[:, None] * weight, rtol=1e-6, atol=1e-7)
        expected = scale * (bias - y["mid"].mean(0)) + mean
        torch.testing.assert_close(found[f"{name}.bias"].double(), expected, rtol=1e-6, atol=1e-6)
        y["mid"] = scale * (y["mid"] - y["mid"].mean(0)) + mean
        inputs = {key: value.relu() for key, value in y.items()}
    for name in ("4.weight", "4.bias"):
        assert torch.equal(found[name], LinearPath(a, b).at(0.3)[name])  # the output layer stays


def test_the_output_layer_is_repaired_when_asked() -> None:
    module, inputs = mlp(), vectors()
    a, b = state_of(module, 1), state_of(module, 2)
    path = RepairedPath(LinearPath(a, b), module, data_of(inputs), output_layer=True)
    assert [layer.name for layer in path.layers.layers] == ["0", "2", "4"] and path.layers.left == {}
    made = outputs_of(module, path.at(0.5), inputs, ["4"])["4"].std(0, False)
    ends = [outputs_of(module, end, inputs, ["4"])["4"].std(0, False) for end in (a, b)]
    torch.testing.assert_close(made, (ends[0] + ends[1]) / 2, rtol=1e-5, atol=1e-6)


def test_batchnorm_of_equal_signs_is_what_a_reset_gives() -> None:
    """Outputs of BatchNorm have its bias as mean and |weight| as standard deviation: of one sign, those interpolate."""
    module = nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12, eps=1e-12), nn.ReLU(), nn.Linear(12, 3))
    a, b = state_of(module, 1), state_of(module, 2)
    for state in (a, b):
        state["1.weight"] = state["1.weight"].abs() + 0.1
    data, line = data_of(vectors()), LinearPath(a, b)
    repaired, reset = RepairedPath(line, module, data).at(0.5), RecalibratedPath(line, module, data).at(0.5)
    for name in reset:
        torch.testing.assert_close(repaired[name], reset[name], rtol=1e-5, atol=1e-6)
    b["1.weight"] = -b["1.weight"]
    line = LinearPath(a, b)
    repaired, reset = RepairedPath(line, module, data).at(0.25), RecalibratedPath(line, module, data).at(0.25)
    assert not torch.allclose(repaired["1.weight"].abs(), reset["1.weight"].abs(), rtol=0.1)


def test_dead_units_stay_finite() -> None:
    module = mlp()
    a, b = state_of(module, 1), state_of(module, 2)
    for state in (a, b):
        state["0.weight"][0] = 0  # constant at both ends
    a["0.weight"][1], b["0.weight"][1] = b["0.weight"][1].clone(), -b["0.weight"][1]  # constant halfway
    a["2.bias"][:] = b["2.bias"][:] = -100  # nothing passes the ReLU after it
    found = repair(module, LinearPath(a, b).at(0.5), a, b, data_of(vectors()))
    assert all(value.isfinite().all() for value in found.values())
    made = outputs_of(module, found, vectors(), ["0"])["0"]
    ends = [outputs_of(module, end, vectors(), ["0"])["0"].mean(0) for end in (a, b)]
    torch.testing.assert_close(made.mean(0), (ends[0] + ends[1]) / 2, rtol=1e-4, atol=1e-5)
    assert made[:, 0].std() < 1e-6 and made[:, 1].std() < 1e-5
    report = repair_report(RepairedPath(LinearPath(a, a), module, data_of(0 * vectors())))
    assert all(std != std for pair in report.std for std in pair)  # no unit varies: not a number, and it says so


def test_module_state_and_hooks_of_the_caller_stay(case) -> None:
    module, a, b, inputs, _ = case
    module.train()
    path = RepairedPath(LinearPath(a, b), module, data_of(inputs))
    kept = copy.deepcopy((module.state_dict(), a, b))
    found = path.at(0.5)
    assert any(not torch.equal(found[name], path.path.at(0.5)[name]) for name in found)
    for held, before in zip((module.state_dict(), a, b), kept, strict=True):
        assert all(torch.equal(held[name], value) for name, value in before.items())
    assert module.training and not any(child._forward_hooks for child in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())
    again = path.at(0.0)
    again[next(iter(again))].zero_()  # what a path returns is the caller's to change
    assert torch.equal(path.at(0.0)[next(iter(again))], a[next(iter(again))])


def test_streamed_data_give_what_data_in_memory_give(case) -> None:
    module, a, b, inputs, _ = case
    batches = [(part, torch.zeros(len(part), dtype=torch.long)) for part in inputs.split(30)]
    streamed = StreamedData(batches, tuple(inputs.shape[1:]))
    line = LinearPath(a, b)
    first, second = (
        RepairedPath(line, module, data, dtype=torch.float64).at(0.5) for data in (streamed, data_of(inputs))
    )
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-6, atol=1e-7)


def test_in_float64_the_statistics_are_exact_to_rounding(case) -> None:
    module, a, b, inputs, treated = case
    a, b = ({n: v.double() if v.is_floating_point() else v for n, v in state.items()} for state in (a, b))
    path = RepairedPath(LinearPath(a, b), module.double(), data_of(inputs), dtype=torch.float64)
    target, made = path.target(0.5), path.measured(path.at(0.5), 0.5)
    module.float()
    for name, what in treated.items():
        torch.testing.assert_close(made[name].std, target[name].std, rtol=1e-11, atol=1e-12)
        if "shift" in what:
            torch.testing.assert_close(made[name].mean, target[name].mean, rtol=1e-11, atol=1e-11)


def test_each_end_is_measured_with_its_own_normalisation() -> None:
    module, x = mlp(), vectors()
    a, b = state_of(module, 1), state_of(module, 2)
    pair = (Normalization((0.5,), (2.0,)), None)
    path = RepairedPath(LinearPath(a, b), module, data_of(x), normalizations=pair)
    seen = [outputs_of(module, state, z, ["2"])["2"] for state, z in ((a, (x - 0.5) / 2), (b, x))]
    expected = sum(y.std(0, False) for y in seen) / 2
    torch.testing.assert_close(path.target(0.5)["2"].std, expected, rtol=1e-5, atol=1e-6)
    middle = path.measured(path.at(0.5), 0.5)["2"].std
    torch.testing.assert_close(middle, expected, rtol=1e-5, atol=1e-6)
