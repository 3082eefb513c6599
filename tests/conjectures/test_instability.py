"""Siblings: what is the same run has no barrier, what shares little has one, and the command says from where on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lmc import schema
from lmc._errors import UsageError
from lmc.cli import main
from lmc.cli.instability import read_numbers, read_recipe
from lmc.conjectures import instability, stable_from
from lmc.datasets import as_data

TRAINING = {"optimizer": "sgd", "lr": 0.5, "epochs": 6, "batch_size": 25}
TOTAL = 24


def rings():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 2, generator=generator)
    return as_data((x, (x.norm(dim=1) > 1.2).long()), name="rings")


def measured(**options):
    given = {"branch_steps": (TOTAL, 0), "training": TRAINING, "seeds": (0, 1), "points": 5, "resamples": 20}
    return instability("mlp?widths=2,8,8,2", rings(), rings(), **{**given, **options})


def test_siblings_that_share_all_are_one_and_pairs_are_told_by_step_and_parent(tmp_path: Path):
    result = measured(work=tmp_path)
    schema.validate(result, "sweep")
    assert result.sizes["pair"] == 2 * 2
    assert sorted(set(zip(result.branch_step.values.tolist(), result.seed.values.tolist(), strict=True))) == [
        (0, 0),
        (0, 1),
        (TOTAL, 0),
        (TOTAL, 1),
    ]
    late = (result.branch_step == TOTAL).values
    assert np.all(result.loss_barrier.values[late] < 1e-6)
    assert np.any(result.loss_barrier.values[~late] > 1e-3), "else the next line shows nothing"
    assert np.all(result.weight_distance.values[late] == 0)
    again = measured(work=tmp_path)
    assert again.equals(result)


@pytest.mark.parametrize(
    ("barriers", "expected"), [([0.5, 0.01, 0.0], 10), ([0.01, 0.5, 0.0], 20), ([0.5, 0.5, 0.5], None), ([0, 0, 0], 0)]
)
def test_stability_begins_where_no_later_step_is_unstable(barriers: list[float], expected: int | None):
    result = measured(branch_steps=(0, 10, 20), seeds=(0,))
    values = np.broadcast_to(np.array(barriers, dtype=float)[:, None, None], result.error_barrier.shape)
    assert stable_from(result.assign(error_barrier=(result.error_barrier.dims, values))) == expected


def test_settings_are_refused_before_training():
    with pytest.raises(UsageError, match="children=1: at least 2"):
        measured(children=1)
    with pytest.raises(UsageError, match="different whole numbers"):
        measured(seeds=(0, 0))
    with pytest.raises(UsageError, match="training has 24 steps"):
        measured(branch_steps=(25,))


def test_recipes_say_what_is_wrong_with_them(tmp_path: Path):
    recipe = tmp_path / "run.toml"
    for text, words in (
        ("model = ", "no TOML file"),
        ("modle = 'mlp'", "no such key 'modle'"),
        ("model = 'mlp'", "data is missing"),
        ("model = 'mlp'\ndata = 'digits'\ntraining = 3", "a table of the options"),
    ):
        recipe.write_text(text)
        with pytest.raises(UsageError, match=words):
            read_recipe(recipe)
    with pytest.raises(UsageError, match="whole numbers with commas"):
        read_numbers("branch-steps", "0;3")


def test_the_command_says_from_where_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text(
        'model = "mlp?width=8&depth=1"\ndata = "digits?limit=200"\n'
        '[training]\nepochs = 2\nlr = 0.1\noptimizer = "sgd"\n'
    )
    main("instability run.toml --branch-steps 0,8 --seeds 0 --points 3 --json".split())
    told = json.loads(capsys.readouterr().out)
    assert told["stable_from"]["none"] in (0, 8), "all 8 steps are shared: there is no barrier left"
    assert schema.read(tmp_path / told["output"], "sweep").sizes["pair"] == 2
