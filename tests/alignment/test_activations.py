"""Activation matching against hidden permutations, a slow computation, and what examples can do wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from alignment.planted import planted, same
from symmetry.networks import CASES
from torch import nn

from lmc._errors import MismatchError, UsageError
from lmc.alignment import align
from lmc.alignment.capture import Moments
from lmc.datasets import Data, Normalization
from lmc.symmetry import find_symmetries
from lmc.symmetry.sites import Sighting
from lmc.testing import tiny_cnn, tiny_mlp

# Every row of "gathered" holds one and the same row of the batch: nothing varies there.
FOUND = [name for name, case in CASES.items() if case.sizes and name != "gathered"]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", FOUND)
def test_a_hidden_permutation_is_found_in_every_kind_of_network(name):
    _, spec, a, b, examples = planted(name)
    assert not same(a, b), "the permutation moves nothing, so finding it proves nothing"
    for method in ("activations", "activations?by=distance"):
        assert same(a, align(a, b, spec, method=method, **examples).apply(b)), method


def brute_force(one: np.ndarray, two: np.ndarray) -> float:
    """Return the best mean correlation over all pairings, each correlation by numpy."""
    size = len(one)
    table = np.corrcoef(one, two)[:size, size:]
    return max(sum(table[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(size))) / size


def test_the_objective_is_that_of_a_search_over_all_pairings():
    model, other = tiny_mlp((6, 5, 3)), tiny_mlp((6, 5, 3), seed=1)
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    spec = find_symmetries(model, torch.zeros(1, 6))
    result = align(
        model.state_dict(),
        other.state_dict(),
        spec,
        method="activations",
        data=(x, torch.zeros(50).long()),
        module=model,
    )
    shown = [net[1](net[0](x)).detach().double().numpy().T for net in (model, other)]
    assert result.objective == pytest.approx(brute_force(*shown), abs=1e-9)
    assert result.trace[-1] >= result.trace[0]
    moved = shown[1][result.permutation["0"]]
    assert result.objective == pytest.approx(
        np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(shown[0], moved, strict=True)])
    )


def test_positions_of_an_image_are_samples():
    model, other = tiny_cnn((1, 4)), tiny_cnn((1, 4), seed=1)
    x = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    spec = find_symmetries(model, x[:1])
    data = (x, torch.zeros(12).long())
    result = align(model.state_dict(), other.state_dict(), spec, method="activations", data=data, module=model)
    shown = [net[:4](x).detach().double().transpose(0, 1).flatten(1).numpy() for net in (model, other)]
    assert result.objective == pytest.approx(brute_force(*shown), abs=1e-9)


def test_the_normalisation_of_the_data_is_applied():
    model, other = tiny_mlp((6, 5, 3)), tiny_mlp((6, 5, 3), seed=1)
    spec = find_symmetries(model, torch.zeros(1, 6))
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(1))
    y = torch.zeros(40, dtype=torch.int64)
    constants = Normalization((0.5,), (0.1,))
    results = [
        align(model.state_dict(), other.state_dict(), spec, method="activations", data=data, module=model).objective
        for data in (Data(x, y, normalization=constants), Data((x - 0.5) / 0.1, y), Data(x, y))
    ]
    assert results[0] == pytest.approx(results[1], abs=1e-6)
    assert results[0] != pytest.approx(results[2], abs=1e-3)


def test_units_that_never_vary_give_no_nan_and_are_counted():
    model = tiny_mlp((6, 8, 3))
    a = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for unit in (1, 4):
        a["0.weight"][unit], a["0.bias"][unit] = 0.0, -1.0
    a["0.weight"][6], a["0.bias"][6] = a["0.weight"][7], a["0.bias"][7]  # and two that are one
    spec = find_symmetries(model, torch.zeros(1, 6))
    b = spec.apply(a, spec.random(3))
    data = (torch.randn(64, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(64).long())
    result = align(a, b, spec, method="activations", data=data, module=model)
    assert np.isfinite(result.objective) and "4 units never vary" in result.message
    alive = [0, 2, 3, 5]
    assert torch.equal(result.apply(b)["0.weight"][alive], a["0.weight"][alive])


def test_moments_do_not_depend_on_how_samples_come():
    one, two = torch.randn(5, 60), torch.randn(5, 60)
    whole, parts = Moments(), Moments()
    whole.add(one, two)
    for rows in zip(one.split(7, dim=1), two.split(7, dim=1), strict=True):
        parts.add(*rows)
    assert torch.allclose(whole.correlation()[0], parts.correlation()[0], atol=1e-12)
    assert torch.allclose(whole.correlation()[0], torch.from_numpy(np.corrcoef(one, two)[:5, 5:]), atol=1e-6)
    assert torch.allclose(whole.squared_distance().float(), torch.cdist(one, two) ** 2, rtol=1e-4)


def test_a_ragged_last_batch_counts():
    model, spec, a, b, _ = planted("mlp")
    x = torch.randn(201, 6, generator=torch.Generator().manual_seed(0))
    result = align(a, b, spec, method="activations?examples=none", data=(x, torch.zeros(201).long()), module=model)
    assert "on 201 examples" in result.message


def test_what_is_missing_or_broken_is_said():
    _, spec, a, b, examples = planted("mlp")
    with pytest.raises(UsageError, match="runs the network on examples: pass data= and module="):
        align(a, b, spec, method="activations")
    with pytest.raises(UsageError, match="Did you mean 'correlation'"):
        align(a, b, spec, method="activations?by=corelation", **examples)
    with pytest.raises(UsageError, match="at least 2"):
        align(a, b, spec, method="activations?examples=1", **examples)
    huge = {key: tensor * 1e30 for key, tensor in a.items()}
    with pytest.raises(MismatchError, match="Activations are not finite"):
        align(huge, huge, spec, method="activations?place=pre", **examples)


def test_recurrent_units_are_seen_at_every_layer_and_step():
    model, spec, a, _, examples = planted("gru, bidirectional")
    sites = Sighting(spec).sites("post")
    assert {name for site in sites for name in site.axes} == {group.name for group in spec.groups}
    assert all(site.over_time for site in sites)
    shown: dict[tuple[int, ...], torch.Tensor] = {}

    class Keep:
        def begin(self, sites):
            pass

        def add(self, site, one, two):
            shown[site.output] = one

    from lmc.alignment.capture import watch
    from lmc.datasets import as_data

    watch(a, a, spec, as_data(examples["data"]), model, place="post", examples=64, seen=Keep())
    gru = model.rnn
    assert isinstance(gru, nn.GRU)
    whole = gru(examples["data"][0])[0]
    assert torch.allclose(torch.cat([shown[1, 2], shown[1, 3]], dim=-1), whole, atol=1e-6)


def test_what_is_written_in_place_is_seen_before():
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x):
            return self.second(self.first(x).relu_())

    torch.manual_seed(0)
    model = InPlace().eval()
    spec = find_symmetries(model, torch.zeros(2, 6))
    x = torch.randn(32, 6)
    lows = []

    class Keep:
        def begin(self, sites):
            pass

        def add(self, site, one, two):
            lows.append(float(one.min()))

    from lmc.alignment.capture import watch
    from lmc.datasets import as_data

    data = as_data((x, torch.zeros(32).long()))
    for place in ("pre", "post"):
        watch(model.state_dict(), model.state_dict(), spec, data, model, place=place, examples=32, seen=Keep())
    assert lows[0] < 0 and lows[1] == 0
