"""What REPAIR leaves alone or refuses, each with its reason, and what the report of a repair says."""

from __future__ import annotations

import pytest
import torch
from repair_networks import data_of, mlp, outputs_of, state_of, tokens, vectors
from torch import nn
from torch.nn import functional as F

from lmc._errors import ArchitectureError, DatasetError
from lmc.interpolation import LinearPath, RepairedPath, repair, repair_report, reset_batchnorm


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
