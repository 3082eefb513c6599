"""Layer-wise ends: A with some modules of B, by whole names, tied tensors included."""

from __future__ import annotations

import pytest
import torch

from lmc._errors import MismatchError, UsageError
from lmc.interpolation import LinearPath, move_only

NAMES = ("layer3.0.conv1.weight", "layer3.0.bn1.running_mean", "layer30.weight", "fc.weight", "fc.bias")
A, B = ({name: torch.full((2,), value) for name in NAMES} for value in (0.0, 1.0))


@pytest.mark.parametrize(
    ("parts", "moved"),
    [
        (["layer3"], NAMES[:2]),
        (["layer3.0.conv1"], NAMES[:1]),
        (["fc.bias"], NAMES[4:]),
        (["fc", "layer30"], NAMES[2:]),
        ([], ()),
        (["layer3", "layer30", "fc"], NAMES),
    ],
)
def test_the_modules_named_and_no_others_move(parts, moved) -> None:
    found = move_only(A, B, parts)
    assert list(found) == list(A)
    assert all(found[name] is (B if name in moved else A)[name] for name in NAMES)


def test_what_does_not_move_stays_exactly_at_a_along_the_path() -> None:
    a, b = ({name: torch.randn(50) for name in NAMES} for _ in range(2))
    state = LinearPath(a, move_only(a, b, ["fc"])).at(1 / 3)
    assert all(torch.equal(state[name], a[name]) is not name.startswith("fc") for name in NAMES)


def test_tied_tensors_move_together() -> None:
    x, y = torch.zeros(2), torch.ones(2)
    found = move_only({"wte": x, "lm_head": x, "h": x + 2}, {"wte": y, "lm_head": y, "h": y + 2}, ["lm_head"])
    assert found["wte"] is y and found["lm_head"] is y and float(found["h"][0]) == 2


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("layr3", r"Did you mean 'layer3'\? At the top: layer3, layer30, fc\."),
        ("layer", "No module or tensor 'layer' has weights"),
        ("fc.weigth", "Did you mean 'fc.weight'"),
    ],
)
def test_a_part_that_is_none_is_refused_with_the_nearest(part, told) -> None:
    with pytest.raises(UsageError, match=told):
        move_only(A, B, ["fc", part])


def test_points_of_two_spaces_are_refused() -> None:
    with pytest.raises(MismatchError, match=r"\(2,\) in A and \(3,\) in B"):
        move_only(A, {**B, "fc.bias": torch.ones(3)}, ["layer3"])
