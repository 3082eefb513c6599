"""The common order of all checkpoints, and what a sweep is estimated to cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sweep.conftest import SWEEP

from lmc import checkpoints
from lmc.architectures import resolve
from lmc.cli import main
from lmc.sweep import InProcess, collect, make_plan, measure_cost, parse_sweep, read_sweep, run_sweep


def planted(folder: Path) -> None:
    """Write one network three times, its hidden units in another order each time."""
    module = resolve("mlp?widths=6,4,3", seed=0, input_shape=(6,), num_classes=3).module
    into, bias, out, last = (name for name, _ in module.named_parameters())
    for seed in range(3):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(4))
        state = {name: tensor.detach() for name, tensor in module.state_dict().items()}
        moved = {into: state[into][order], bias: state[bias][order], out: state[out][:, order], last: state[last]}
        path = folder / "runs" / "width4" / f"seed{seed}.safetensors"
        checkpoints.save(moved, path, {"lmc": {"model": "mlp?widths=6,4,3"}})


@pytest.mark.parametrize("method", ["pivot", "merge-many"])
def test_n_alignments_serve_all_pairs(study: Path, method: str):
    planted(study)
    text = SWEEP.replace("runs/*/", "runs/width4/").replace('align = ["none"]', 'align = ["none", "universe"]')
    (study / "sweep.toml").write_text(f'{text}\n[universe]\nmethod = "{method}"\n')
    plan = make_plan(read_sweep("sweep.toml"))
    with InProcess() as here:
        summary = run_sweep(plan, "results", here)
    assert summary.failed == 0, summary
    found = collect("results").sel(baseline="chord")
    np.testing.assert_allclose(found.loss_barrier.sel(alignment="universe"), 0, atol=1e-6)
    assert (found.weight_distance.sel(alignment="none") > 0.1).any(), "or nothing was planted"
    np.testing.assert_allclose(found.weight_distance.sel(alignment="universe"), 0, atol=1e-6)
    assert len(list((study / "results" / "universe").glob("*.nc"))) == (2 if method == "pivot" else 1)


def test_the_cost_of_more_checkpoints_follows_from_that_of_few(study: Path, capsys):
    main(["sweep", "sweep.toml", "--dry-run", "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["units"] == 6 and told["there"] == 0 and told["seconds"] > 0 and told["memory_a_worker"] > 2**20
    assert not (study / "sweep").exists(), "nothing was written"
    few = make_plan(read_sweep("sweep.toml"))
    cost = measure_cost(few, 2)
    assert len(cost.units) == 2, "one of each network"
    table = {"checkpoints": {"paths": [f"{study}/runs/width4/*"]}, "measure": {"data": "d.npz", "align": ["none"]}}
    part = make_plan(parse_sweep(table))
    one, two = cost.seconds(few, 1), cost.seconds(few, 2)
    assert cost.start < two < one
    assert cost.seconds(part, 1) < one
