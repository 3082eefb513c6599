"""Data for alignments, soft plans beside permutations, alignments as datasets, and the papers behind methods."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

import lmc
from lmc import pipeline, schema
from lmc._errors import UsageError
from lmc._methods import ALIGNMENTS, FUSIONS
from lmc.alignment import align
from lmc.datasets import open_data
from lmc.pipeline.alignment_dataset import alignment_dataset, similarity
from lmc.pipeline.cite import citations, citations_of
from lmc.symmetry import find_symmetries
from lmc.testing import planted_pair, tiny_mlp

MODEL, OTHER = tiny_mlp(), tiny_mlp(seed=1)
SPEC = find_symmetries(MODEL, torch.zeros(2, 6))


def drawn(seed: int, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 6, generator=generator), torch.randint(3, (count,), generator=generator)


def test_alignment_never_sees_what_the_barrier_is_reported_on():
    with pytest.raises(UsageError, match="100% of the examples that the barrier is reported on"):
        lmc.barrier(MODEL, MODEL, OTHER, drawn(0), align="activations", align_data=drawn(0), points=3)
    partly = tuple(torch.cat([one[:10], other[:30]]) for one, other in zip(drawn(0), drawn(1), strict=True))
    with pytest.raises(UsageError, match="25% of the examples"):
        lmc.barrier(MODEL, MODEL, OTHER, drawn(0), align="activations", align_data=partly, points=3)
    with pytest.raises(UsageError, match="pass data= to align"):
        lmc.barrier(MODEL, MODEL, OTHER, drawn(0), align="activations", points=3)
    result = lmc.barrier(MODEL, MODEL, OTHER, drawn(0), align="activations", align_data=drawn(1), points=3)
    assert "on 40 examples" in str(result.alignment_message.item())


def test_the_default_is_the_training_split_and_only_where_needed():
    methods = pipeline.resolve_alignments(["none", "weights"], 0)
    measured = open_data("digits", "test")
    assert pipeline.alignment_data(methods.values(), None, measured) is None
    looking = pipeline.resolve_alignments(["activations"], 0).values()
    found = pipeline.alignment_data(looking, None, measured)
    assert found is not None and found.split == "train" and found.digest != measured.digest
    with pytest.raises(UsageError, match="100% of the examples"):
        pipeline.alignment_data(looking, None, open_data("digits", "train"))
    with pytest.raises(UsageError, match="pass --align-data"):
        pipeline.alignment_data(looking, None)


def test_a_soft_plan_has_a_row_of_its_own_that_says_what_became_of_b():
    result = lmc.barrier(
        MODEL, MODEL, OTHER, drawn(0), align=["ot?solver=sinkhorn&soft=true", "ot?soft=true"], points=3
    )
    names = [str(name) for name in result.alignment.values]
    assert names == [
        "ot?solver=sinkhorn&soft=true",
        "ot?solver=sinkhorn&soft=true (soft)",
        "ot?soft=true",
        "ot?soft=true (soft)",
    ]
    messages = dict(zip(names, map(str, result.alignment_message.values), strict=True))
    assert list(json.loads(result.attrs["citations"])) == ["ot"] and "singh2020model" in result.attrs["citations"]
    assert "FUNCTION CHANGED" in messages[names[1]]
    assert "function is kept" in messages[names[3]], "an exact uniform plan is a permutation"
    assert "rounding gained" in messages[names[0]], "entropy spreads mass over costly pairs"
    ends = result.loss.isel(t=-1).values
    assert ends[0] == pytest.approx(ends[2], abs=1e-6) and ends[0] != pytest.approx(ends[1], abs=1e-5)
    assert float(result.objective[1]) < float(result.objective[0])


def test_an_alignment_is_a_dataset(tmp_path):
    a = MODEL.state_dict()
    b, undo = planted_pair(a, SPEC, seed=2)
    result = align(a, b, SPEC)
    dataset = alignment_dataset(result, a, b, {"a_source": "a.pt"})
    schema.write(dataset, tmp_path / "r.nc")
    back = schema.read(tmp_path / "r.nc", "alignment")
    assert np.allclose(back.similarity_after, 1) and float(back.similarity_before.mean()) < 0.9
    for group in SPEC.groups:
        assert np.array_equal(back.source.values[back.group.values == group.name], undo[group.name].ravel())
    assert back.attrs["alignment"] == result.method and "ainsworth2023git" in back.attrs["citation"]
    assert np.allclose(similarity(SPEC, a, b), back.similarity_before)


def test_the_entries_of_a_plan_add_up():
    a, b = MODEL.state_dict(), OTHER.state_dict()
    dataset = alignment_dataset(align(a, b, SPEC, method="ot?solver=sinkhorn&soft=true"), a, b)
    mass = dataset.plan_mass.groupby(xr.DataArray(dataset.plan_place.values, dims="entry", name="place")).sum()
    assert mass.sizes["place"] == SPEC.units
    assert float(dataset.plan_mass.sum()) == pytest.approx(len(SPEC.groups), rel=1e-3)


def test_plans_say_how_firm_they_are():
    a, b = MODEL.state_dict(), OTHER.state_dict()
    loose = alignment_dataset(align(a, b, SPEC, method="ot?solver=sinkhorn&soft=true"), a, b)
    firm = alignment_dataset(align(a, b, SPEC, method="ot?soft=true"), a, b)
    assert np.allclose(firm.plan_kept, 1) and np.allclose(firm.plan_partners, 1)
    assert 0 < float(loose.plan_kept.mean()) < 0.99 and float(loose.plan_partners.max()) > 1.1
    places = np.arange(SPEC.units)
    offsets = np.repeat(np.cumsum([0, *(group.units for group in SPEC.groups[:-1])]), [g.units for g in SPEC.groups])
    on = [
        float(loose.plan_mass[(loose.plan_place == i) & (loose.plan_unit == offsets[i] + loose.source[i])].sum())
        / float(loose.plan_mass[loose.plan_place == i].sum())
        for i in places
    ]
    assert np.allclose(loose.plan_kept, on)


def test_units_that_compute_the_same_correlate_fully_once_aligned():
    a = MODEL.state_dict()
    b, _ = planted_pair(a, SPEC, seed=2)
    data = lmc.as_data(drawn(3, 200), name="drawn")
    found = alignment_dataset(align(a, b, SPEC), a, b, data=data, module=MODEL)
    live = np.flatnonzero(found.correlation_after.values != 0)  # a unit that is never active has no correlation
    assert len(live) > 0.6 * SPEC.units
    assert np.allclose(found.correlation_after[live], 1) and float(found.correlation_before.mean()) < 0.7
    assert found.attrs["correlation_examples"] == 200
    x = drawn(3, 200)[0]
    first, other = (torch.relu(x @ state["0.weight"].T + state["0.bias"]).T.numpy() for state in (a, b))
    by_hand = [
        np.corrcoef(one, two)[0, 1] if one.std() and two.std() else 0.0 for one, two in zip(first, other, strict=True)
    ]
    assert np.allclose(found.correlation_before[: len(by_hand)], by_hand, atol=1e-5)


def test_a_result_carries_the_papers_of_what_it_used():
    found = citations_of(["weights?restarts=2+sinkhorn", "none", "my own method", "random?seed=1"])
    assert list(found) == ["weights", "sinkhorn"] and not citations_of(["none", "mine"])


def test_every_method_with_a_paper_cites_it():
    found = citations()
    assert set(found) == {*ALIGNMENTS, *FUSIONS}
    assert all(text.startswith("@") for name, text in found.items() if name not in ("none", "random", "vanilla"))
    assert list(citations(["ot?on=activations", "weights?restarts=2"])) == ["ot", "weights"]
    with pytest.raises(UsageError, match="Did you mean 'weights'"):
        citations(["weigths"])
