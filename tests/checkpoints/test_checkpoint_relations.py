"""What several checkpoints are to each other."""

from __future__ import annotations

import pytest
import torch

from lmc.checkpoints import cosine, load, relate


def weights(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {"w": torch.randn(30, 20, generator=generator).to(dtype), "b": torch.ones(30, dtype=dtype)}


def test_copies_runs_and_layouts(tmp_path):
    one = weights(0)
    near = {"w": one["w"] + 0.01, "b": one["b"]}
    files = {"a": one, "wrapped": {"model": one}, "near": near, "other": weights(1), "wide": {"w": torch.ones(4, 4)}}
    for name, tree in files.items():
        torch.save(tree, tmp_path / f"{name}.pt")
    told = relate([load(tmp_path / f"{name}.pt") for name in files])
    assert [one.layout for one in told] == [1, 1, 1, 1, 2]
    assert [one.duplicate for one in told] == [None, 0, None, None, None]
    assert [one.first for one in told] == [None, 0, 0, 0, None]
    assert told[0].cosine is None
    assert told[2].cosine > 0.999
    assert abs(told[3].cosine) < 0.2


def test_half_of_the_same_weights_is_near_and_no_copy(tmp_path):
    torch.save(weights(0), tmp_path / "a.pt")
    torch.save(weights(0, torch.bfloat16), tmp_path / "b.pt")
    told = relate([load(tmp_path / name) for name in ("a.pt", "b.pt")])
    assert told[1].duplicate is None
    assert told[1].cosine == pytest.approx(1, abs=1e-4)


def test_cosine_goes_by_matrices_in_pieces(monkeypatch):
    a, b = weights(0), weights(1)
    flat = [s["w"].double().ravel() for s in (a, b)]
    expected = float(flat[0] @ flat[1] / flat[0].norm() / flat[1].norm())
    monkeypatch.setattr("lmc.checkpoints.relations._CHUNK", 7)
    assert cosine(a, b) == pytest.approx(expected, abs=1e-14)
    assert cosine({"w": a["w"].T}, {"w": b["w"].T.contiguous()}) == pytest.approx(expected, abs=1e-14)
