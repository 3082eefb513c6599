"""The plane of a fusion: the modes are the networks they say, and a permutation puts the fused one half-way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmc import fuse, fusion_plane, plot_basin, schema
from lmc._errors import MismatchError, UsageError
from lmc.datasets import as_data
from lmc.evaluation import evaluate_state
from lmc.fusion import AlignThenAverage
from lmc.interpolation import Plane
from lmc.pipeline import prove
from lmc.pipeline.fusion_plane import MODES, in_order_of_first
from lmc.testing import fake_classification, planted_pair, tiny_mlp

DATA = fake_classification((6,), examples=30)


def test_the_fused_network_lies_half_way_to_the_permuted_one():
    module = tiny_mlp((6, 9, 3))
    proof = prove(module, torch.zeros(2, 6))
    a, (b, _) = module.state_dict(), planted_pair(module.state_dict(), proof.spec, noise=0.3, seed=1)
    plane = fusion_plane(module, [a, b], DATA, method="align-then-average", proof=proof, resolution=5)
    schema.validate(plane, "basin")
    assert tuple(plane.mode.values) == MODES and list(plane.mode_copy_of.values) == ["", "", "B", ""]
    at = {str(name): np.array([plane.mode_u.sel(mode=name), plane.mode_v.sel(mode=name)]) for name in MODES}
    np.testing.assert_allclose(at["fused"], (at["A"] + at["B permuted"]) / 2, atol=1e-5)
    assert "@" in plane.attrs["citations"]
    assert plane.attrs["fused_distance"] == pytest.approx(0, abs=1e-4)
    fused = fuse([a, b], proof.spec, method="align-then-average").state
    for name, state in (("A", a), ("B", b), ("B permuted", b), ("fused", fused)):
        loss = float(evaluate_state(module, state, as_data(DATA)).loss[0])
        assert float(plane.mode_loss.sel(mode=name)) == pytest.approx(loss, rel=1e-4)
    assert list(plot_basin(plane, metric="loss").panels["loss"].modes) == list(MODES)


def test_a_barycenter_in_an_order_of_its_own_is_brought_back():
    module = tiny_mlp((6, 9, 3))
    spec = prove(module, torch.zeros(2, 6)).spec
    a = module.state_dict()
    b = planted_pair(a, spec, noise=0.3, seed=1)[0]
    plain = fuse([a, b], spec, method=AlignThenAverage())
    order = spec.random(5)
    shuffled = fuse([spec.apply(a, order), b], spec, method=AlignThenAverage())
    # The same fusion seen from a first network in another order: told in the order of a once more.
    found = in_order_of_first(shuffled, spec, b)
    for state, truth in zip(found, in_order_of_first(plain, spec, b), strict=True):
        assert all(torch.allclose(spec.apply(truth, order)[key], tensor, atol=1e-6) for key, tensor in state.items())
    with pytest.raises(UsageError, match="no couplings"):
        in_order_of_first(fuse([a, b], spec, method="vanilla"), spec, b)


def test_a_mode_off_the_plane_is_marked_where_it_is_nearest():
    states = [tiny_mlp(seed=seed).state_dict() for seed in range(4)]
    plane = Plane.through(*states[:3])
    marked = plane.marked("D", states[3])
    u, v, apart = plane.project(states[3])
    assert tuple(marked.names) == ("A", "B", "C", "D") and apart > 0.1
    np.testing.assert_array_equal(marked.coordinates[3], [u, v])
    np.testing.assert_array_equal(marked.coordinates[:3], plane.coordinates)
    with pytest.raises(UsageError, match="No further mode 'A'"):
        plane.marked("A", states[3])
    with pytest.raises(UsageError, match="needs three others"):
        Plane.around(states[0]).marked("D", states[3])


def test_planes_that_are_none_are_refused():
    module = tiny_mlp((6, 9, 3))
    states = [tiny_mlp((6, 9, 3), seed=seed).state_dict() for seed in range(3)]
    with pytest.raises(UsageError, match="got 3"):
        fusion_plane(module, states, DATA, method="align-then-average")
    with pytest.raises(UsageError, match="Did you mean 'resolution'"):
        fusion_plane(module, states[:2], DATA, resolutoin=5)
    with pytest.raises(MismatchError, match="No plane goes through"):
        fusion_plane(module, states[:2], DATA, method="align-then-average?align=none", resolution=5)
