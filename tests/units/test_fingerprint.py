"""Fingerprints: equal for equal work in any process, different for whatever changes a result."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmc._errors import UsageError
from lmc.datasets import Normalization, as_data
from lmc.interpolation import LinearPath
from lmc.testing import tiny_mlp
from lmc.units import fingerprint


@dataclass(frozen=True)
class Settings:
    restarts: int
    cache: list = field(default_factory=list, compare=False)


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self._scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._scale * self.layer(x)


def with_capture(scale: float):
    def loss(outputs, targets):
        return scale * outputs.sum(1)

    return loss


X = torch.arange(4.0).reshape(2, 2)

DIFFERENT = {
    "a number and its text": (1, "1"),
    "kinds of number": (1, 1.0),
    "nesting": ([1, [2]], [[1], 2]),
    "split strings": (["ab", "c"], ["a", "bc"]),
    "a value of a tensor": (X, X + 1),
    "a shape": (X, X.reshape(4)),
    "a dtype of equal bytes": (torch.zeros(2, dtype=torch.int32), torch.zeros(2)),
    "a name in a state": ({"a": X}, {"b": X}),
    "a swap in a state": ({"a": X, "b": X + 1}, {"a": X + 1, "b": X}),
    "a setting": (Settings(1), Settings(2)),
    "an attribute of a network": (Scaled(1.0), Scaled(2.0)),
    "a width": (tiny_mlp(), nn.Sequential(nn.Linear(6, 9))),
    "what a function captured": (with_capture(1.0), with_capture(2.0)),
    "a partial argument": (functools.partial(max, 1), functools.partial(max, 2)),
    "a loss's own setting": (nn.CrossEntropyLoss(label_smoothing=0.0), nn.CrossEntropyLoss(label_smoothing=0.1)),
    "an end of a path": (LinearPath({"w": X}, {"w": X}), LinearPath({"w": X}, {"w": -X})),
    "examples": (as_data((X, torch.tensor([0, 1]))), as_data((X, torch.tensor([1, 0])))),
    "a normalisation": (
        as_data((X, torch.tensor([0, 1])), normalization=Normalization((0.0,), (1.0,))),
        as_data((X, torch.tensor([0, 1])), normalization=Normalization((0.5,), (1.0,))),
    ),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_what_changes_a_result_changes_the_fingerprint(pair):
    assert fingerprint(pair[0]) != fingerprint(pair[1])
    assert [fingerprint(one) for one in pair] == [fingerprint(one) for one in pair]


def test_what_changes_no_result_does_not():
    one, two = tiny_mlp(seed=0), tiny_mlp(seed=1).train()
    assert fingerprint(one) == fingerprint(two), "a path replaces the parameters"
    assert fingerprint(Settings(1, [1])) == fingerprint(Settings(1, [2]))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(X.t()) == fingerprint(X.t().contiguous())


def test_buffers_that_no_state_dict_has_count():
    nets = []
    for value in (1.0, 2.0):
        net = nn.Linear(2, 2)
        net.register_buffer("mask", torch.full((2,), value), persistent=False)
        nets.append(fingerprint(net))
    assert nets[0] != nets[1]


def test_an_edited_source_file_counts(tmp_path: Path):
    found = []
    for body in ("x", "2 * x"):
        (tmp_path / "mine.py").write_text(f"def loss(x, y):\n    return {body}\n")
        code = "import sys; sys.path.insert(0, '.'); import mine; from lmc.units import fingerprint as f;"
        done = subprocess.run(
            [sys.executable, "-B", "-c", code + "print(f(mine.loss))"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0] != found[1]


def test_another_process_finds_the_same():
    code = (
        "import torch; from lmc.units import fingerprint as f; from lmc.testing import tiny_mlp;"
        "print(f({'a': torch.arange(3.)}, tiny_mlp(), torch.float32, frozenset({'p', 'q', 'r'}), {'x': (1, None)}))"
    )
    here = fingerprint(
        {"a": torch.arange(3.0)}, tiny_mlp(), torch.float32, frozenset({"p", "q", "r"}), {"x": (1, None)}
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == here, done.stderr


def test_what_cannot_be_told_is_refused():
    with pytest.raises(UsageError, match="cannot be resumed"):
        fingerprint(iter([1]))
    with pytest.raises(UsageError, match="cannot be resumed"):
        fingerprint({"settings": [object()]})


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_values_are_told_apart_exactly_when_they_differ(one, two):
    assert (fingerprint(one) == fingerprint(two)) == (repr_of(one) == repr_of(two))


def repr_of(value) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{repr_of(value[key])}" for key in sorted(value, key=repr)) + "}"
    return "[" + ",".join(map(repr_of, value)) + "]" if isinstance(value, list) else repr(value)


def test_arrays_of_numpy_count_by_value():
    assert fingerprint(np.arange(3)) == fingerprint(np.arange(6)[:3])
    assert fingerprint(np.arange(3)) != fingerprint(np.arange(3.0))
