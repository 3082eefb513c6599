"""REPAIR: every repaired unit has the interpolated mean and standard deviation, and nothing else is touched."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lmc._errors import ArchitectureError, DatasetError
from lmc.datasets import Normalization, StreamedData, as_data
from lmc.interpolation import LinearPath, RecalibratedPath, RepairedPath, repair, repair_report, reset_batchnorm

EXAMPLES = 80


class Residual(nn.Module):
    """Convolutions with and without BatchNorm, groups, a transposed one, a skip, in-place ReLU, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)
        self.last = nn.GroupNorm(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x = x + F.relu(self.grouped(x))
        return self.head(F.relu_(self.last(self.up(x))).mean((2, 3)))


class Tokens(nn.Module):
    """A table, LayerNorm, fused queries, keys and values, a parameter beside the modules."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.position = nn.Parameter(torch.zeros(5, 8))
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8, bias=False)
        self.rms = nn.RMSNorm(8)
        self.head = nn.Linear(8, 11)

    def forward(self, tokens):
        x = self.table(tokens) + self.position
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return self.head(self.rms(x + self.out(F.scaled_dot_product_attention(q, k, v))))


def mlp(*, bias: bool = True) -> nn.Module:
    layers = [(5, 12), (12, 9), (9, 3)]
    return nn.Sequential(*(m for i, o in layers for m in (nn.Linear(i, o, bias=bias), nn.ReLU())))[:-1]


def batchnorm_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 9, bias=False), nn.BatchNorm1d(9), nn.ReLU(),
        nn.Linear(9, 3),
    )  # fmt: skip


def vectors() -> torch.Tensor:
    return 0.5 + torch.randn(EXAMPLES, 5, generator=torch.Generator().manual_seed(7))


def images() -> torch.Tensor:
    return torch.randn(EXAMPLES, 1, 6, 6, generator=torch.Generator().manual_seed(7))


def tokens() -> torch.Tensor:
    return torch.randint(0, 11, (EXAMPLES, 5), generator=torch.Generator().manual_seed(7))


CASES = {
    "mlp": (mlp, vectors, {"0": "scale and shift", "2": "scale and shift"}),
    "mlp without biases": (lambda: mlp(bias=False), vectors, {"0": "scale only", "2": "scale only"}),
    "mlp with BatchNorm": (batchnorm_mlp, vectors, {"1": "reset, scale and shift", "4": "reset, scale and shift"}),
    "residual": (
        Residual,
        images,
        {
            "norm": "reset, scale and shift",
            "grouped": "scale and shift",
            "up": "scale and shift",
            "last": "scale and shift",
        },
    ),
    "tokens": (
        Tokens,
        tokens,
        {
            "table": "scale and shift",
            "norm": "scale and shift",
            "qkv": "scale and shift",
            "out": "scale only",
            "rms": "scale only",
        },
    ),
}


def state_of(module: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Return random weights, every statistic and affine part away from its default."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, value in module.state_dict().items():
        drawn = torch.randn(value.shape, generator=draw) / max(value[0].numel() if value.dim() > 1 else 4, 1) ** 0.5
        found[name] = (drawn.abs() + 0.5 if "running_var" in name else drawn).to(value.dtype)
    return found


def data_of(inputs: torch.Tensor, **options):
    return as_data((inputs, torch.zeros(len(inputs), dtype=torch.long)), task="classification", **options)


def outputs_of(module: nn.Module, state, inputs: torch.Tensor, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return what layers put out for all examples, units last, in float64: plainly, for comparison."""
    network = copy.deepcopy(module).double().eval()
    network.load_state_dict(state)
    found: dict[str, torch.Tensor] = {}
    for name in names:

        def keep(layer, args, output, name=name):
            axis = 1 if output.dim() == 4 else -1
            found[name] = output.detach().clone().movedim(axis, -1).flatten(0, -2)

        network.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        network(inputs.double() if inputs.is_floating_point() else inputs)
    return found


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


class Odd(nn.Module):
    """Everything that REPAIR has to leave, each for its own reason."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.twice = nn.Linear(8, 8)
        self.memory = nn.GRU(8, 8, batch_first=True)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.batch = nn.BatchNorm1d(8, track_running_stats=False)
        self.unused = nn.Linear(8, 8)
        self.plain = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        x = self.twice(self.twice(self.table(x)).relu())
        x = self.normed(self.memory(x)[0])
        x = self.batch(x.transpose(1, 2)).transpose(1, 2)
        return self.head(F.linear(x, self.unused.weight) + self.plain(x)).log_softmax(-1)


def test_what_cannot_be_repaired_is_left_with_its_reason() -> None:
    module = Odd()
    a, b = (module.state_dict(), state_of(module, 2))
    b["head.weight"] = b["table.weight"]
    path = RepairedPath(LinearPath(a, b), module, data_of(tokens()))
    assert [layer.name for layer in path.layers.layers] == ["plain"]
    for name, reason in {
        "table": "shares its weight with head",
        "twice": "used 2 times",
        "memory": "GRU is no layer",
        "normed": "computed from others",
        "batch": "statistics from the batch",
        "unused": "never called",
        "head": "makes the output",
    }.items():
        assert reason in path.layers.left[name], name
    found = path.at(0.5)
    assert torch.equal(found["head.weight"], found["table.weight"])


def test_torchs_own_transformer_layer_is_repaired_outside_its_attention() -> None:
    """Its fused way never calls the linear layers as modules; with hooks it does not take it."""
    module = nn.Sequential(
        nn.Linear(5, 8), nn.Unflatten(1, (2, 4)), nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), nn.Flatten(),
        nn.Linear(8, 3),
    )  # fmt: skip
    path = RepairedPath(LinearPath(state_of(module, 1), state_of(module, 2)), module, data_of(vectors()))
    names = ["0", "2.norm1", "2.linear1", "2.linear2", "2.norm2"]
    assert [layer.name for layer in path.layers.layers] == names
    target, made = path.target(0.5), path.measured(path.at(0.5), 0.5)
    for name in target:
        torch.testing.assert_close(made[name].std, target[name].std, rtol=1e-5, atol=1e-6)


def test_a_module_under_two_names_is_one_layer() -> None:
    module = mlp()
    module.add_module("same", module[0])
    module = nn.ModuleDict({"body": module[:5], "same": module[0]})
    module.forward = module["body"].forward  # type: ignore[method-assign]
    a, b = state_of(module, 1), state_of(module, 2)
    for state in (a, b):
        state |= {f"same.{part}": state[f"body.0.{part}"] for part in ("weight", "bias")}
    found = RepairedPath(LinearPath(a, b), module, data_of(vectors())).at(0.5)
    assert torch.equal(found["same.weight"], found["body.0.weight"])
    assert not torch.equal(found["same.weight"], (a["same.weight"] + b["same.weight"]) / 2)


def test_a_layer_that_batchnorm_and_others_read_is_repaired_too() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.head = nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

        def forward(self, x):
            y = self.first(x)
            return self.head(self.norm(y).relu() + y)

    path = RepairedPath(LinearPath(state_of(Both(), 1), state_of(Both(), 2)), Both(), data_of(vectors()))
    assert [layer.name for layer in path.layers.layers] == ["first", "norm"]


def test_batchnorm_that_makes_the_output_is_reset_and_no_more() -> None:
    module = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3), nn.BatchNorm1d(3))
    a, b = state_of(module, 1), state_of(module, 2)
    path = RepairedPath(LinearPath(a, b), module, data_of(vectors()))
    assert [layer.treatment for layer in path.layers.layers] == ["scale and shift", "reset"]
    found = path.at(0.5)
    reset = reset_batchnorm(module, found, data_of(vectors()))
    torch.testing.assert_close(found, reset)
    torch.testing.assert_close(found["3.weight"], (a["3.weight"] + b["3.weight"]) / 2)


def test_batchnorm_used_twice_is_refused_with_the_way_out() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(5)

        def forward(self, x):
            return self.norm(x) + self.norm(x + 10)

    state = Twice().state_dict()
    with pytest.raises(ArchitectureError, match=r"'norm' is used 2 times.*--recalibrate"):
        repair(Twice(), state, state, state, data_of(vectors()))


@pytest.mark.parametrize("memory", [2**30, 0])
def test_statistics_that_are_not_finite_are_refused_by_layer(memory) -> None:
    module = mlp()
    a = state_of(module, 1)
    b = {name: value * (float("inf") if name == "2.weight" else 1) for name, value in state_of(module, 2).items()}
    with pytest.raises(DatasetError, match=r"layer '2'.*not finite"):
        repair(module, a, a, b, data_of(vectors()), memory=memory)


class Rare(nn.Module):
    """An expert that only large inputs reach: the two examples that are looked at do, the data of a test need not."""

    def __init__(self) -> None:
        super().__init__()
        self.expert, self.head = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        far = x.sum(1) > 50
        return self.head(torch.where(far[:, None], self.expert(x), x) if far.any() else x)


@pytest.mark.parametrize("memory", [2**30, 0])
def test_a_layer_that_the_data_never_reach_is_refused(memory) -> None:
    class Shrinking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.rare = nn.BatchNorm1d(5), Rare()

        def forward(self, x):
            return self.rare(self.norm(x))

    module = Shrinking()
    state = {**module.state_dict(), "norm.running_mean": torch.full((5,), -20.0)}
    module.load_state_dict(state)  # as it stands the expert is reached, with statistics of the data it is not
    with pytest.raises(DatasetError, match=r"'rare.expert' saw nothing"):
        repair(module, state, state, state, data_of(vectors()), memory=memory)


def test_a_network_with_nothing_to_repair_stays() -> None:
    module = nn.Linear(5, 3)
    a, b = state_of(module, 1), state_of(module, 2)
    path = RepairedPath(LinearPath(a, b), module, data_of(vectors()))
    assert all(torch.equal(path.at(0.5)[name], path.path.at(0.5)[name]) for name in a)
    assert "REPAIR of 0 layers" in path.description and repair_report(path).layers == ()


def test_the_report_shows_the_collapse_and_its_repair() -> None:
    module = mlp(bias=False)
    path = RepairedPath(LinearPath(state_of(module, 1), state_of(module, 2)), module, data_of(vectors()))
    report = repair_report(path)
    assert report.layers == ("0", "2") and set(report.treatments) == {"scale only"}
    assert report.left == {"4": "makes the output"}
    for before, after in report.std:
        assert before < 0.9 and after == pytest.approx(1, abs=1e-5)
    plain = outputs_of(module, path.path.at(0.5), vectors(), ["2"])["2"]
    ends = [outputs_of(module, end, vectors(), ["2"])["2"] for end in path.path.ends]
    std = sum(y.std(0, False) for y in ends) / 2
    assert report.std[1][0] == pytest.approx(float(plain.std(0, False).sum() / std.sum()), rel=1e-5)
    offset = plain.mean(0) - sum(y.mean(0) for y in ends) / 2
    assert report.mean[1][0] == pytest.approx(float(offset.norm() / std.norm()), rel=1e-5)
