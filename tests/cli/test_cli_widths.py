"""Networks of other widths on the command line: carried by transport, refused by what permutes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

from lmc import load
from lmc.alignment.transport import transport
from lmc.architectures.mlp import MLP
from lmc.checkpoints import save
from lmc.cli import main
from lmc.symmetry import find_symmetries
from lmc.symmetry.sites import Sighting

X = torch.zeros(2, 1, 8, 8)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write a network, the same one with every unit twice, and one of further widths, to the working folder."""
    monkeypatch.chdir(tmp_path)
    states, specs = {}, {}
    for name, widths in (("a", (12, 9)), ("wide", (24, 18)), ("other", (7, 15))):
        torch.manual_seed(len(name))
        network = MLP(widths=(64, *widths, 10))
        states[name], specs[name] = network.state_dict(), find_symmetries(network, X)
    maps = {}
    for group in specs["wide"].groups:
        makes = np.tile(np.eye(group.size // 2), (2, 1))[None]
        maps[group.name] = (makes, makes / 2)
    roles = Sighting(specs["wide"]).roles()
    states["wide"] = {
        key: tensor.float() for key, tensor in transport(states["a"], specs["a"], specs["wide"], maps, roles).items()
    }
    states["wide"] = specs["wide"].apply(states["wide"], specs["wide"].random(1))
    for name, state in states.items():
        torch.save(state, f"{name}.pt")
    about = {"model": "mlp?widths=64,24,18,10", "data": "digits"}
    save(states["wide"], "wide.safetensors", {"lmc": about})
    return tmp_path


def failed(*args: object, capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, args)))
    assert stopped.value.code in (2, 3)
    return capsys.readouterr().err


def test_a_network_of_other_widths_is_written_in_the_shapes_of_a(files, capsys):
    main(["align", "a.pt", "wide.safetensors", "--align", "ot", "--input-shape", "1,8,8", "-o", "carried.safetensors"])
    said = capsys.readouterr().out
    assert "carried   42 units to 21 places" in said and "no permutation" in said
    own, carried = load("a.pt").state, load("carried.safetensors").state
    for name, tensor in own.items():  # the same network, its units back where A has them
        torch.testing.assert_close(carried[name], tensor, rtol=1e-5, atol=1e-6)
    # The file says so itself: read by its own word, with B's widths, it would not load.
    about = load("carried.safetensors").metadata["lmc"]
    assert "64,12,9,10" in about["model"] and about["data"] == "digits"
    main(
        ["barrier", "a.pt", "carried.safetensors", "--data", "digits", "--points", "3", "--align", "none", "-o", "n.nc"]
    )
    with xr.open_dataset("n.nc") as plain:
        assert abs(float(plain.loss_barrier.sel(baseline="chord")[0])) < 1e-4


@pytest.mark.parametrize(("b", "kept"), [("wide", True), ("other", False)])
def test_a_barrier_along_a_plan_says_whether_the_function_is_kept(files, capsys, b: str, kept: bool):
    run = ["barrier", "a.pt", f"{b}.pt", "--data", "digits", "--points", "3", "--align", "ot", "--json", "-o", "r.nc"]
    main(run)
    (row,) = json.loads(capsys.readouterr().out)["alignments"]
    assert row["name"] == "ot (soft)"
    assert ("B's function is kept" in row["message"]) is kept
    assert ("B's FUNCTION CHANGED" in row["message"]) is not kept
    with xr.open_dataset("r.nc") as result:
        assert "cosine" not in result.attrs and "mlp" in result.attrs["b_model"]
        if kept:
            assert float(result.loss.max() - result.loss.min()) < 1e-5
        else:  # and by how much is the distance of B's own losses from those at the end
            module = MLP(widths=(64, 7, 15, 10))
            module.load_state_dict(load("other.pt").state)
            mean = losses(module)
            change = float(np.abs(result.example_loss.values[0, -1] - mean).mean())
            assert f"by {change:.2g} nats" in row["message"]


def losses(module: torch.nn.Module) -> np.ndarray:
    from lmc.datasets import open_data

    data = open_data("digits", "test")
    inputs, targets = next(iter(data.batches(data.size)))
    inputs = inputs if data.normalization is None else data.normalization(inputs)
    with torch.no_grad():
        return torch.nn.functional.cross_entropy(module(inputs), targets, reduction="none").numpy()


@pytest.mark.parametrize("asked", [(), ("--align", "none", "ot"), ("--align", "weights")])
def test_other_alignments_refuse_other_widths_with_both_shapes_and_the_fix(files, capsys, asked):
    said = failed("barrier", "a.pt", "other.pt", "--data", "digits", "-o", "r.nc", *asked, capsys=capsys)
    assert "(12, 64), B (7, 64)" in said and "--align ot alone" in said and "lmc fuse" in said
    assert not list(files.glob("r.nc"))


@pytest.mark.parametrize(("option", "name"), [("--save-permutation", "p.npz"), ("--result", "r.nc")])
def test_what_describes_a_permutation_is_refused(files, capsys, option: str, name: str):
    run = ("align", "a.pt", "other.pt", "--align", "ot", "--input-shape", "1,8,8", "-o", "o.safetensors", option, name)
    said = failed(*run, capsys=capsys)
    assert option in said and "no permutation" in said
    assert not list(files.glob("o.safetensors"))


def test_more_than_other_widths_is_refused_as_before(files, capsys):
    torch.save(MLP(widths=(16, 12, 9, 10)).state_dict(), "small.pt")
    said = failed("align", "a.pt", "small.pt", "--align", "ot", "-o", "o.safetensors", capsys=capsys)
    assert "are networks of different shape" in said
    torch.save(MLP(widths=(64, 12, 9, 9, 10)).state_dict(), "deep.pt")
    assert "of different shape" in failed(
        "align", "a.pt", "deep.pt", "--align", "ot", "-o", "o.safetensors", capsys=capsys
    )
