"""Weight matching with inputs weighed by their second moments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import lmc
from lmc._errors import UsageError
from lmc.alignment.second_moments import weighed_inputs
from lmc.datasets import as_data
from lmc.testing import tiny_cnn, tiny_mlp

WIDTH, INPUTS, USED = 12, 20, 8


def test_what_no_example_uses_does_not_mislead():
    model = tiny_mlp((INPUTS, WIDTH, 3))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((200, INPUTS), generator=generator)
    x[:, USED:] *= 1e-3
    data = (x, torch.zeros(200, dtype=torch.int64))
    spec = lmc.find_symmetries(model, x[:2])
    a = model.state_dict()
    planted = spec.random(1)
    b = spec.apply(a, planted)
    b["0.weight"] = b["0.weight"].clone()
    b["0.weight"][:, USED:] += 20 * torch.randn((WIDTH, INPUTS - USED), generator=generator)

    def found(method: str) -> bool:
        moved = lmc.align(a, b, spec, method=method, data=data, module=model).apply(b)
        return torch.equal(moved["2.weight"], a["2.weight"])

    assert found("weights?covariance=true")
    assert not found("weights"), "the noise is large enough to mislead, or the test shows nothing"


@pytest.mark.parametrize(
    ("network", "shape"), [(tiny_mlp((6, 5, 4, 3)), (6,)), (tiny_cnn((1, 4, 6), classes=3), (1, 8, 8))]
)
def test_products_of_rows_are_those_of_what_they_compute(network: nn.Module, shape: tuple[int, ...]):
    x = torch.randn((50, *shape), generator=torch.Generator().manual_seed(0))
    state = network.state_dict()
    weighed = weighed_inputs(state, network, as_data((x, torch.zeros(50, dtype=torch.int64))), 50)
    assert list(weighed) == list(state)
    last = [name for name, tensor in state.items() if tensor.ndim == 2][-1]
    seen = []
    layer = network.get_submodule(last.removesuffix(".weight"))
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(x)
    handle.remove()
    out = (seen[0] @ state[last].T).double()
    np.testing.assert_allclose((weighed[last] @ state[last].T).double(), out.T @ out / len(x), rtol=1e-4, atol=1e-6)


def test_settings_are_checked_and_data_are_asked_for():
    with pytest.raises(UsageError, match="covariance is true or false"):
        lmc.WeightMatching(covariance="yes")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="examples must be a positive"):
        lmc.WeightMatching(examples=0)
    model = tiny_mlp((4, 3, 2))
    spec = lmc.find_symmetries(model, torch.zeros(2, 4))
    with pytest.raises(UsageError, match="pass data= and module="):
        lmc.align(model.state_dict(), model.state_dict(), spec, method="weights?covariance=true")
