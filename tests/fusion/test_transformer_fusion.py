"""Transformer fusion: planted copies, every policy by hand on a tiny network, and what soft or split maps break."""

from __future__ import annotations

import copy
import functools
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lmc import find_symmetries, fuse, resolve
from lmc._errors import MismatchError, UsageError
from lmc._methods import FUSIONS, load_method
from lmc.fusion import FusionResult, TransformerFusion, WassersteinBarycenter
from lmc.fusion.couple import Couple
from lmc.fusion.problem import Problem
from lmc.symmetry import PermutationSpec

VIT = "vit?dim=8&heads=2&hidden=6&depth=1&patch=4"
NETWORKS = {
    VIT: (1, 8, 8),
    "gpt?dim=8&heads=2&depth=1": (6,),
    "llama?dim=24&heads=6&sharing=3&hidden=7&depth=1": (6,),
}


@functools.cache
def network(reference: str) -> tuple[nn.Module, PermutationSpec, dict[str, Tensor], tuple[Tensor, Tensor]]:
    """Return a network whose norms and biases are not what they start as, its spec, its state, and examples."""
    shape = NETWORKS.get(reference, (1, 8, 8))
    net = resolve(reference, input_shape=shape, num_classes=5)
    state = drawn(net.module, 0)
    spec = find_symmetries(net.module, *net.example_inputs(seed=0))
    draw = torch.Generator().manual_seed(1)
    tokens = len(shape) == 1
    x = torch.randint(0, 5, (12, *shape), generator=draw) if tokens else torch.randn(12, *shape, generator=draw)
    return net.module.eval(), spec, state, (x, torch.zeros((12, 6) if tokens else 12, dtype=torch.int64))


def drawn(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """Return the module's weights with noise of a seed, ties kept."""
    module, draw = copy.deepcopy(module), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=draw))
    return module.state_dict()


def outputs(module: nn.Module, state: dict[str, Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.func.functional_call(module, dict(state), (x,), tie_weights=False)


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in other)


@pytest.mark.parametrize("reference", NETWORKS)
def test_hard_maps_give_a_permuted_copy_back(reference: str):
    module, spec, state, (x, _) = network(reference)
    other = spec.apply(state, spec.random(3))
    kept = copy.deepcopy(other)
    for options in ("", "&residual=none", "&residual=skip&queries=separate"):
        result = fuse([state, other], spec, method=f"transformer?solver=emd{options}")
        assert furthest(result.state, state) < 1e-5
        torch.testing.assert_close(outputs(module, result.state, x), outputs(module, state, x), rtol=1e-5, atol=1e-5)
        assert not result.warnings and result.converged
        assert furthest(spec.apply(other, result.permutation(1)), state) < 1e-6
    assert furthest(fuse([state, other], spec, method="vanilla").state, state) > 0.1, "the comparison can fail"
    assert all(torch.equal(other[name], tensor) for name, tensor in kept.items())
    shared = {name for name in state if name in spec.aliases}
    assert all(result.state[name] is result.state[spec.aliases[name]] for name in shared), "one tensor stays one"


@pytest.mark.parametrize("options", ["heads=across", "heads=matched&residual=features", "queries=separate"])
def test_hard_maps_by_activations_give_a_permuted_copy_back(options: str):
    module, spec, state, data = network(VIT)
    other = spec.apply(state, spec.random(4))
    method = f"transformer?solver=emd&on=activations&{options}"
    result = fuse([state, other], spec, method=method, data=data, modules=module)
    assert furthest(result.state, state) < 1e-5 and not result.warnings


class Stream(nn.Module):
    """A stream of four units, and one block that adds to it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.start, self.up, self.down, self.end = (nn.Linear(*s) for s in ((3, 4), (4, 5), (5, 4), (4, 2)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        return self.end(x + self.down(self.up(x).relu()))


def plan_of(a: np.ndarray, b: np.ndarray, solver: str) -> np.ndarray:
    """Return a map between rows, times the number of units, entry by entry from its definition."""
    cost = np.array([[np.sqrt(((one - other) ** 2).sum()) for other in b] for one in a])
    return Couple(solver, 0.1 * cost.std()).plan(cost)[0] * len(a)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("policy", "solver"), [*itertools.product(("mean", "none", "skip"), ("emd", "sinkhorn"))])
def test_policies_without_examples_are_what_they_are_by_hand(policy: str, solver: str):
    slow, fast, _ = by_hand(policy, solver)
    assert furthest(fast.state, slow) < 1e-6


@pytest.mark.parametrize("policy", ["scalar", "features"])
def test_weighted_policies_are_what_they_are_by_hand(policy: str):
    slow, fast, share = by_hand(policy, "sinkhorn")
    assert furthest(fast.state, slow) < 1e-6
    assert share.min() > 0.1 and share.max() < 0.9 and (len(np.unique(share.round(6))) > 1) == (policy == "features")
    mean, _, _ = by_hand("mean", "sinkhorn")
    assert furthest(mean, slow) > 1e-4, "the weights count"


def by_hand(policy: str, solver: str) -> tuple[dict[str, Tensor], FusionResult, np.ndarray]:
    """Return a fusion of two tiny networks computed step by step, the method's, and the weights of the sum."""
    modules = [Stream(seed).eval() for seed in range(2)]
    a, b = ({name: one.double().numpy() for name, one in m.state_dict().items()} for m in modules)
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        skip = modules[0].start(x)
        sizes = skip.abs().mean(0).double().numpy(), modules[0].down(modules[0].up(skip).relu()).abs().mean(0).numpy()

    def rows(net: dict[str, np.ndarray], layer: str, reads: np.ndarray) -> np.ndarray:
        return np.concatenate([net[f"{layer}.weight"] @ reads.T, net[f"{layer}.bias"][:, None]], axis=1)

    def columns(plan: np.ndarray) -> np.ndarray:
        return plan / plan.sum(axis=0, keepdims=True)

    def layer(name: str, makes: np.ndarray, reads: np.ndarray) -> None:
        fused[f"{name}.weight"] = (a[f"{name}.weight"] + makes @ b[f"{name}.weight"] @ columns(reads).T) / 2
        fused[f"{name}.bias"] = (a[f"{name}.bias"] + makes @ b[f"{name}.bias"]) / 2

    fused: dict[str, Any] = {}
    first = plan_of(rows(a, "start", np.eye(3)), rows(b, "start", np.eye(3)), solver)
    layer("start", first, np.eye(3))
    inner = plan_of(rows(a, "up", np.eye(4)), rows(b, "up", columns(first)), solver)
    layer("up", inner, first)
    block = plan_of(rows(a, "down", np.eye(5)), rows(b, "down", columns(inner)), solver)
    layer("down", block, inner)
    share = {"mean": np.full(4, 0.5), "none": np.zeros(4), "skip": np.ones(4)}.get(policy)
    if share is None:
        one, two = sizes if policy == "features" else (np.full(4, size.mean()) for size in sizes)
        share = one / (one + two)
    last = share[:, None] * first + (1 - share[:, None]) * block
    layer("end", np.eye(2), last)
    slow = {name: torch.from_numpy(value).float() for name, value in fused.items()}
    spec = find_symmetries(modules[0], x[:2])
    states = [one.state_dict() for one in modules]
    method = f"transformer?residual={policy}&solver={solver}&examples=20"
    given = {"data": (x, torch.zeros(20, dtype=torch.int64)), "modules": modules[0]}
    return slow, fuse(states, spec, method=method, **given), share


def test_soft_maps_become_hard_ones_as_the_entropy_goes_and_say_what_they_change():
    module, spec, state, data = network(VIT)
    other = drawn(module, 7)

    def made(options: str) -> FusionResult:
        return fuse([state, other], spec, method=f"transformer?{options}", data=data, modules=module)

    hard = made("solver=emd")
    apart = [furthest(made(f"reg={reg}").state, hard.state) for reg in (0.3, 1e-4)]
    assert apart[0] > 0.1 and apart[1] < 0.01, "in between they may pass by other assignments"
    soft = made("reg=0.3")
    (text,) = soft.warnings
    assert "network 2 carried along its maps is another function: " in text and " maps are soft" in text
    told = float(text.partition("change by ")[2].partition("%")[0]) / 100
    carried = {name: 2 * tensor - state[name] for name, tensor in soft.state.items()}
    before, after = (outputs(module, one, data[0]) for one in (other, carried))
    assert told == pytest.approx(float((before - after).norm() / before.norm()), rel=0.06)


def test_queries_and_keys_apart_break_the_function_unless_their_maps_are_one():
    module, spec, state, data = network(VIT)
    other = {name: t + 0.01 * torch.randn_like(t) for name, t in spec.apply(state, spec.random(3)).items()}
    other = {**other, "blocks.0.k.weight": drawn(module, 9)["blocks.0.k.weight"]}  # keys that say something else
    joint, apart = (
        fuse(
            [state, other],
            spec,
            method=f"transformer?solver=emd&residual=skip&queries={how}",
            data=data,
            modules=module,
        )
        for how in ("joint", "separate")
    )
    word = "maps of blocks.0.q#2 differ from place to place"
    assert any(word in text for text in apart.warnings) and not any(word in text for text in joint.warnings)


def test_opened_heads_lose_units_to_each_other_and_are_refused_where_not_all_in_them_is_free():
    module, spec, state, _ = network(VIT)
    result = fuse([state, drawn(module, 7)], spec, method="transformer?solver=emd&heads=across")
    assert any("leave their heads" in text for text in result.warnings)
    assert "blocks.0.q" not in result.couplings[1], "no permutation of heads comes out of it"
    _, closed, llama, _ = network("llama?dim=24&heads=6&sharing=3&hidden=7&depth=1")
    with pytest.raises(UsageError, match="heads=across mixes what lies in the heads"):
        fuse([llama, llama], closed, method="transformer?heads=across")


def test_a_network_and_its_wider_copy_fuse_into_either_width():
    module, spec, state, (x, _) = network(VIT)
    wide_module, wide, _, _ = network(VIT.replace("hidden=6", "hidden=12"))
    alone = Problem((state,), (spec,), wide, (1.0,))
    copied = wide.apply(WassersteinBarycenter().fuse(alone).state, wide.random(2))
    for target, where, who in ((wide, wide_module, "2"), (spec, module, "1")):
        result = fuse([state, copied], [spec, wide], target=target, method="transformer?solver=emd")
        assert result.message.startswith(f"network {who} is the anchor")
        assert result.state["blocks.0.mlp.0.weight"].shape == target.shapes["blocks.0.mlp.0.weight"]
        torch.testing.assert_close(outputs(where, result.state, x), outputs(module, state, x), rtol=1e-4, atol=1e-4)
    # Into a width that no network has, the pivot is brought there first.
    _, third, _, _ = network(VIT.replace("hidden=6", "hidden=9"))
    between = fuse([state, copied], [spec, wide], target=third, method="transformer")
    assert "brought to the widths" in between.message


def test_opened_heads_may_differ_in_number():
    large = VIT.replace("dim=8", "dim=16").replace("heads=2", "heads=4")
    (_, spec, state, _), (module, wide, other, (x, _)) = network(VIT), network(large)
    result = fuse([state, other], [spec, wide], target=wide, method="transformer?heads=across")
    assert torch.isfinite(outputs(module, result.state, x)).all()
    with pytest.raises(MismatchError):
        fuse([state, other], [spec, wide], target=wide, method="transformer")


def test_settings():
    for method in (
        TransformerFusion("activations", "emd", 0.2, "none", "separate", "across", "cosine", 2, None, 3),
        TransformerFusion(residual="features"),
    ):
        assert load_method(method.reference, FUSIONS, "fusion") == method
    assert TransformerFusion().needs == "none" and TransformerFusion(residual="scalar").needs == "data"
    for text, match in (
        ("residual=men", "Did you mean 'mean'"),
        ("reg=0", "reg must be a number"),
        ("queries=both", "Known: joint"),
        ("pivot=0", "pivot must be"),
    ):
        with pytest.raises(UsageError, match=match):
            load_method(f"transformer?{text}", FUSIONS, "fusion")
    _, spec, state, _ = network(VIT)
    with pytest.raises(UsageError, match="pivot=3 is none of 2"):
        fuse([state, state], spec, method="transformer?pivot=3")
