"""What is written as TOML is read back as it was, and what a person gets wrong is said."""

from __future__ import annotations

import pytest
import torch
from symmetry.networks import CASES
from symmetry.test_export import Untraceable
from torch import nn

from lmc._errors import UsageError
from lmc.symmetry import find_symmetries, read_spec, verify, write_form, write_spec


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name, tmp_path):
    model = CASES[name].build().eval()
    spec = find_symmetries(model, CASES[name].inputs())
    back = read_spec(write_spec(tmp_path / "spec.toml", spec), model)
    assert {g.name: (g.size, g.over, g.kind) for g in back.groups} == {
        g.name: (g.size, g.over, g.kind) for g in spec.groups
    }
    permutation = spec.random(3)
    state = model.state_dict()
    ours, theirs = spec.apply(state, permutation), back.apply(state, permutation)
    assert all(torch.equal(ours[key], theirs[key]) for key in state)


RIGHT = """
[[group]]
name = "hidden"
size = 8
axes = ["first.weight[0]", "first.bias[0]", "last.weight[1]"]
"""


def _read(tmp_path, text, found=None):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return read_spec(path, Untraceable(), found)


def test_a_spec_by_hand_stands_for_what_cannot_be_traced(tmp_path):
    spec = _read(tmp_path, RIGHT)
    assert verify(spec, Untraceable(), torch.zeros(3, 6), breaks=None).ok
    forgotten = _read(tmp_path, RIGHT.replace('"first.bias[0]", ', ""))
    assert verify(forgotten, Untraceable(), torch.zeros(3, 6)).guilty == ("hidden",)


def test_groups_of_the_file_replace_add_and_remove(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    found = find_symmetries(model, torch.zeros(1, 3))
    path = tmp_path / "spec.toml"

    def names(text):
        path.write_text(text)
        return {group.name: [str(axis) for axis in group.axes] for group in read_spec(path, model, found).groups}

    assert list(names("")) == ["0", "2"]
    assert list(names('[[group]]\nname = "0"\nremove = true\n')) == ["2"]
    only = '[[group]]\nname = "2"\nsize = 5\naxes = ["2.weight[0]", "2.bias[0]", "4.weight[1]"]\n'
    assert list(names(only)) == ["0", "2"]
    assert list(names("alone = true\n" + only)) == ["2"]
    assert names(only.replace("2.bias[0]", "2.bias[0]"))["2"] == ["2.weight[0]", "2.bias[0]", "4.weight[1]"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "hidden"', ""), "has no name"),
        (("size = 8", "size = 1"), "size of 2 or more, got 1"),
        (("size = 8", "sise = 8"), "unknown entry 'sise'. Did you mean 'size'"),
        (("size = 8", "size = 7"), r"has 7 units, first.weight\[0\] has size 8"),
        (("first.weight", "frist.weight"), "'frist.weight' that the network has not. Did you mean 'first.weight'"),
        (("bias[0]", "bias[1]"), r"dimension 1 of 'first.bias', which has 1 \(shape \[8\]\)"),
        (("first.bias[0]", "first.bias"), "write it as"),
        (('"last.weight[1]"', '{param = "last.weight", dim = 1, start = 4}'), "lies at 4 to 11"),
        (('"last.weight[1]"', '{param = "last.weight", dim = 1, positions = [[[0, 1]]]}'), r"shape \[1, copies, 8\]"),
        (('"last.weight[1]"', '{param = "last.weight", dim = 1, start = 0, strides = [0, 0, 0]}'), "lies twice"),
        (("size = 8", 'size = 8\nover = [{group = "heads", size = 2}]'), "say where they lie"),
        ((RIGHT, RIGHT + RIGHT.replace("hidden", "again")), "both move position 0"),
        ((RIGHT, '[[group]]\nname = "hiden"\nremove = true'), "to be removed, but there is none"),
        ((RIGHT, "not toml"), "cannot be read as a TOML spec"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        _read(tmp_path, RIGHT.replace(*change))


def test_the_form_lists_every_tensor_and_reads_as_no_groups(tmp_path):
    path = write_form(tmp_path / "form.toml", Untraceable())
    assert "first.weight  [8, 6]" in path.read_text()
    assert read_spec(path, Untraceable()).groups == ()
