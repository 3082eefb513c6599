"""Averages, task vectors, soups, ensembles: each against what it must be by hand, and a case that can fail."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lmc import find_symmetries, fuse, reset_batchnorm
from lmc._errors import UsageError
from lmc.evaluation.engine import load_copy
from lmc.fusion import (
    AlignThenAverage,
    FisherAverage,
    FusionResult,
    ModelSoup,
    PredictionEnsemble,
    RegMean,
    TaskArithmetic,
    Ties,
    VanillaAverage,
)
from lmc.fusion.fisher import plain_layers, squared_gradients
from lmc.fusion.regmean import regression_mean, rows_of
from lmc.fusion.ties import elected_mean
from lmc.testing import fake_classification, planted_pair, tiny_cnn, tiny_mlp

# Settings with which a share of one leaves the first network.
METHODS = [
    VanillaAverage(),
    AlignThenAverage(),
    AlignThenAverage(by="regmean"),
    ModelSoup("uniform"),
    ModelSoup(),
    FisherAverage(examples=20),
    FisherAverage(examples=20, targets="sampled"),
    RegMean(examples=20),
    TaskArithmetic(scaling=0.5),
    Ties(density=1.0),
]
DATA = fake_classification((6,), examples=40)


class Tied(nn.Module):
    """Two layers that are one matrix, a mask of integers, half precision on request."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight
        self.register_buffer("steps", torch.tensor(3 + seed))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x).relu()).relu())


def run(method, states, spec, module, **options) -> FusionResult:
    given = {"data": DATA, "modules": module, "base": module.state_dict(), **options}
    return fuse(states, spec, method=method, **given)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.reference)
def test_every_average_keeps_ties_and_shares_and_leaves_the_networks_alone(method):
    modules = [Tied(seed).eval() for seed in range(3)]
    base, *states = [one.state_dict() for one in modules]
    spec = find_symmetries(modules[0], torch.zeros(2, 6))
    kept = copy.deepcopy(states)
    fused = run(method, states, spec, modules[1], base=base, mix=(3, 1))
    for state, before in zip(states, kept, strict=True):
        assert all(torch.equal(state[key], tensor) for key, tensor in before.items())
    assert list(fused.state) == list(states[0])
    assert fused.state["first.weight"].data_ptr() == fused.state["second.weight"].data_ptr(), "one tensor stays one"
    assert fused.state["last.weight"].data_ptr() != states[0]["last.weight"].data_ptr()
    assert fused.state["steps"] == 4 and fused.state["last.weight"].dtype == torch.float32
    load_copy(modules[0], fused.state, torch.device("cpu"), torch.float32)
    alone = run(method, states, spec, modules[1], base=base, mix=(1, 0)).state
    for key, tensor in states[0].items():
        torch.testing.assert_close(alone[key], tensor, rtol=1e-4, atol=1e-5)
    if fused.mix == (0.75, 0.25):  # a greedy soup may have left one out
        assert (fused.state["last.weight"] - alone["last.weight"]).abs().max() > 1e-3, "shares count"
    else:
        assert isinstance(method, ModelSoup)


def test_a_greedy_soup_takes_what_helps_and_leaves_what_hurts():
    good = tiny_mlp((6, 16, 3), seed=0)
    spec = find_symmetries(good, torch.zeros(1, 6))
    x = DATA[0]
    data = (x, good(x).argmax(1))  # the good network is always right
    hidden = spec.apply(good.state_dict(), spec.random(1))  # as good alone, not beside it
    near = {key: tensor + 1e-5 for key, tensor in good.state_dict().items()}
    states = [hidden, good.state_dict(), near]
    soup = run(ModelSoup(), [good.state_dict(), hidden, near], spec, good, data=data)
    assert soup.mix == (0.5, 0.0, 0.5) and soup.message == "2 of 3 networks taken: 1, 3"
    assert soup.trace == (1.0, 1.0) and soup.objective_name.startswith("accuracy on fusion data")
    # Order by score, the first of equals: beginning with the other one, that is alone.
    assert run(ModelSoup(), states, spec, good, data=data).mix == (1.0, 0.0, 0.0)
    uniform = run("soup?recipe=uniform", states, spec, good, data=data)
    vanilla = run("vanilla", states, spec, good)
    assert all(torch.equal(uniform.state[key], vanilla.state[key]) for key in near), "all of them, by another name"


def softmax_regressions() -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    networks = [nn.Linear(6, 3) for _ in range(2)]
    for seed, one in enumerate(networks):
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            one.weight.normal_(generator=draw)
            one.bias.normal_(generator=draw)
    return networks[0], [one.state_dict() for one in networks]


def test_fisher_weights_are_those_of_softmax_regression():
    module, states = softmax_regressions()
    spec = find_symmetries(nn.Sequential(module), torch.zeros(1, 6))
    spec = find_symmetries(module, torch.zeros(1, 6)) if "weight" not in spec.shapes else spec
    x = DATA[0].double()
    information = []
    for state in states:
        p = (x @ state["weight"].double().T + state["bias"].double()).softmax(1)
        information.append(((p * (1 - p)).T @ x**2 / len(x), (p * (1 - p)).mean(0)))
    fused = run(FisherAverage(targets="expected", floor=1e-12), states, spec, module).state
    for k, name in enumerate(("weight", "bias")):
        f, g = (one[k] for one in information)
        truth = (f * states[0][name] + g * states[1][name]) / (f + g)
        torch.testing.assert_close(fused[name].double(), truth, rtol=1e-4, atol=1e-6)
        wrong = (g * states[0][name] + f * states[1][name]) / (f + g)
        assert (fused[name].double() - wrong).abs().max() > 1e-2, "the comparison can fail"
    many = (DATA[0].repeat(100, 1), DATA[1].repeat(100))
    drawn = run(FisherAverage(examples=None, targets="sampled", floor=1e-12), states, spec, module, data=many).state
    torch.testing.assert_close(drawn["weight"], fused["weight"], rtol=0.1, atol=0.05)
    # A floor above everything leaves the plain mean.
    plain = run(FisherAverage(floor=1e3), states, spec, module).state
    torch.testing.assert_close(plain["weight"], (states[0]["weight"] + states[1]["weight"]) / 2)


@pytest.mark.parametrize("network", [tiny_mlp(), tiny_cnn()], ids=["mlp", "cnn"])
def test_squares_are_of_single_examples_and_the_fast_way_gives_them_too(network: nn.Module):
    shape = (6,) if len(network) == 5 else (1, 8, 8)
    x, y = fake_classification(shape, examples=5)
    weights = torch.arange(5.0)
    plain = plain_layers(network.requires_grad_(False), x)
    assert plain, "the last layer at least is one product"
    fast = squared_gradients(network, x, y, weights, "classification", plain)
    slow = squared_gradients(network, x, y, weights, "classification")
    network.requires_grad_(True)
    truth = dict.fromkeys(fast, 0.0)
    whole = torch.autograd.grad(
        nn.functional.cross_entropy(network(x), y, reduction="none").dot(weights), list(network.parameters())
    )
    for index in range(5):
        loss = nn.functional.cross_entropy(network(x[index : index + 1]), y[index : index + 1])
        names, values = zip(*network.named_parameters(), strict=True)
        for name, one in zip(names, torch.autograd.grad(loss, values), strict=True):
            truth[name] = truth[name] + weights[index] * one.double() ** 2
    for (name, _), batch in zip(network.named_parameters(), whole, strict=True):
        torch.testing.assert_close(fast[name], truth[name], rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(slow[name], truth[name], rtol=1e-4, atol=1e-9)
        assert not torch.allclose(truth[name], batch.double() ** 2, rtol=0.1), "a batch's gradient is another thing"


def test_regmean_is_least_squares():
    draw = torch.Generator().manual_seed(0)
    inputs = [torch.randn(30, 5, generator=draw, dtype=torch.float64) * torch.linspace(1, 3, 5) for _ in range(2)]
    inputs[1] = inputs[1] @ torch.randn(5, 5, generator=draw, dtype=torch.float64)
    rows = [torch.randn(4, 5, generator=draw, dtype=torch.float64) for _ in range(2)]
    found = regression_mean(rows, [x.T @ x for x in inputs], (0.5, 0.5))
    stacked = torch.cat(inputs)
    answers = torch.cat([x @ w.T for x, w in zip(inputs, rows, strict=True)])
    truth = torch.linalg.lstsq(stacked, answers).solution.T
    torch.testing.assert_close(found, truth, rtol=1e-6, atol=1e-6)
    assert (found - (rows[0] + rows[1]) / 2).abs().max() > 0.1, "the mean is another matrix"
    # Inputs that are always 0 take the mean by shares.
    moments = [torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))] * 2
    one, two = (torch.tensor([[a, b]], dtype=torch.float64) for a, b in ((1.0, 2.0), (3.0, 6.0)))
    torch.testing.assert_close(regression_mean([one, two], moments, (0.75, 0.25)), torch.tensor([[1.5, 3.0]]).double())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(5, 4), (3, 2, 5)),
        (nn.Conv2d(3, 4, 3, padding=1, stride=2, dilation=2), (2, 3, 9, 8)),
        (nn.Conv2d(3, 4, (2, 3), padding="same", padding_mode="circular"), (2, 3, 7, 8)),
        (nn.Conv1d(3, 4, 3, stride=2), (2, 3, 9)),
    ],
)
def test_rows_are_what_a_layer_reads(layer: nn.Module, shape: tuple[int, ...]):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    answers = rows_of(layer, x) @ layer.weight.flatten(1).T + layer.bias
    expected = layer(x)
    expected = expected if isinstance(layer, nn.Linear) else expected.movedim(1, -1)
    torch.testing.assert_close(answers, expected.reshape(-1, 4), rtol=1e-4, atol=1e-5)


def test_regmean_fits_convolutions_and_says_what_it_averaged():
    one, two = tiny_cnn(seed=0), tiny_cnn(seed=1)
    data = fake_classification((1, 8, 8), examples=30)
    spec = find_symmetries(one, torch.zeros(2, 1, 8, 8))
    fused = fuse([one.state_dict(), two.state_dict()], spec, method="regmean", data=data, modules=one)
    assert fused.message == "3 layers fitted on 30 examples" and not fused.warnings
    mean = (one.state_dict()["0.weight"] + two.state_dict()["0.weight"]) / 2
    assert torch.allclose(fused.state["0.weight"], mean, atol=1e-4), "both read the same images: the fit is the mean"
    deep = (one.state_dict()["4.weight"] + two.state_dict()["4.weight"]) / 2
    assert (fused.state["4.weight"] - deep).abs().max() > 1e-2
    reset_batchnorm(one, fused.state, data)


def test_task_arithmetic_adds_what_was_learned():
    base, one, two = (tiny_mlp(seed=seed).state_dict() for seed in range(3))
    spec = find_symmetries(tiny_mlp(), torch.zeros(1, 6))
    fused = fuse([one, two], spec, method="task-arithmetic?scaling=0.3", base=base).state
    averaged = fuse([one, two], spec, method="task-arithmetic?scaling=0.5", base=base).state
    for key in base:
        torch.testing.assert_close(fused[key], base[key] + 0.3 * (one[key] - base[key] + two[key] - base[key]))
        torch.testing.assert_close(averaged[key], (one[key] + two[key]) / 2)
        assert not torch.allclose(fused[key], averaged[key], atol=1e-3)
    with pytest.raises(UsageError, match="cannot do without base="):
        fuse([one, two], spec, method="task-arithmetic")


def test_buffers_are_no_task_vectors():
    base, one, two = (tiny_cnn(seed=seed) for seed in range(3))
    spec = find_symmetries(base, torch.zeros(2, 1, 8, 8))
    states = [one.state_dict(), two.state_dict()]
    for method in ("task-arithmetic", "ties"):
        fused = fuse(states, spec, method=method, base=base.state_dict()).state
        torch.testing.assert_close(
            fused["1.running_var"], (states[0]["1.running_var"] + states[1]["1.running_var"]) / 2
        )
        assert not torch.allclose(fused["1.weight"], (states[0]["1.weight"] + states[1]["1.weight"]) / 2, atol=1e-3)


def test_ties_trims_elects_and_merges():
    vectors = [torch.tensor(one, dtype=torch.float64) for one in ([3.0, -1, 0, 2, 0], [-1.0, -3, 0, 0, 0])]
    merged, kept, stayed = elected_mean(vectors, (0.5, 0.5))
    assert merged.tolist() == [3, -2, 0, 2, 0] and (kept, stayed) == (4, 5)
    np.testing.assert_allclose(elected_mean(vectors, (0.1, 0.9))[0], [-1, -2.8, 0, 2, 0], rtol=1e-15)  # shares elect
    module = nn.Linear(3, 2, bias=False)
    spec = find_symmetries(module, torch.zeros(1, 3))
    base = {"weight": torch.zeros(2, 3)}
    one = {"weight": torch.tensor([[4.0, 0.1, -3.0], [0.2, 1.0, 0.3]])}
    two = {"weight": torch.tensor([[-1.0, 0.1, -5.0], [0.2, 2.0, 0.3]])}
    fused = fuse([one, two], spec, method="ties?density=0.5&scaling=2", base=base)
    assert fused.state["weight"].tolist() == [[8, 0, -8], [0, 3, 0]]
    assert fused.message.startswith("83% of the entries")


def test_an_ensemble_is_no_network():
    states = [tiny_mlp(seed=seed).state_dict() for seed in (0, 1)]
    spec = find_symmetries(tiny_mlp(), torch.zeros(1, 6))
    found = fuse(states, spec, method="ensemble?of=probabilities", mix=(3, 1))
    assert found.state == {} and found.combine == "probabilities" and found.mix == (0.75, 0.25)
    assert fuse(states, spec, method="vanilla").combine is None


def test_aligning_first_undoes_a_planted_permutation():
    module = tiny_mlp((6, 12, 10, 3))
    spec = find_symmetries(module, torch.zeros(1, 6))
    a = module.state_dict()
    (b, answer), (c, _) = (planted_pair(a, spec, seed=seed) for seed in (1, 2))
    for order in ("pivot", "merge-many"):
        fused = fuse([a, b, c], spec, method=AlignThenAverage(order=order))
        assert all(torch.allclose(fused.state[key], tensor, atol=1e-6) for key, tensor in a.items())
    found = fuse([a, b], spec, method="align-then-average?align=weights?restarts=2")
    assert all(np.array_equal(found.permutation(1)[name], perm) for name, perm in answer.items())
    assert "ainsworth2023git" in found.citation
    plain = fuse([a, b], spec, method=AlignThenAverage(align="none"))
    assert not torch.allclose(plain.state["0.weight"], a["0.weight"], atol=1e-2), "without alignment it is vanilla"
    assert torch.equal(plain.state["0.weight"], fuse([a, b], spec, method="vanilla").state["0.weight"])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("soup?recipe=gredy", "Did you mean 'greedy'"),
        ("fisher?targets=label", "Unknown targets"),
        ("fisher?examples=0", "from 1 up"),
        ("fisher?floor=0", "floor must be a number"),
        ("regmean?shrink=2", "from 0 to 1"),
        ("ties?density=0", "density must be"),
        ("task-arithmetic?scaling=-1", "from 0 up"),
        ("ensemble?of=logit", "Did you mean 'logits'"),
        ("align-then-average?align=weigths", "Did you mean 'weights'"),
        ("align-then-average?order=pivots", "Did you mean 'pivot'"),
        ("align-then-average?by=ensemble", "no average of aligned networks"),
        ("fisher", "cannot do without data= and modules="),
        ("vanila", "Did you mean 'vanilla'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(method: str, message: str):
    states = [tiny_mlp(seed=seed).state_dict() for seed in (0, 1)]
    with pytest.raises(UsageError, match=message):
        fuse(states, find_symmetries(tiny_mlp(), torch.zeros(1, 6)), method=method)


def test_methods_are_written_back_as_they_are_asked_for():
    for text in ("fisher?targets=data", "regmean?shrink=1.0", "ties", "ensemble?of=probabilities", "soup"):
        states = [tiny_mlp(seed=seed).state_dict() for seed in (0, 1)]
        spec = find_symmetries(tiny_mlp(), torch.zeros(1, 6))
        found = fuse(states, spec, method=text, data=DATA, modules=tiny_mlp(), base=states[0])
        assert found.method == text
    assert PredictionEnsemble().reference == "ensemble"
