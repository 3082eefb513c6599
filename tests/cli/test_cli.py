"""The command line as a user meets it: real processes, their exit codes, what they print and what they leave behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from cli.running import lmc, lmc_from_nothing

from lmc import checkpoints, schema
from lmc.architectures import resolve
from lmc.cli import main
from lmc.symmetry import find_symmetries
from lmc.testing import planted_pair

ROOT = Path(__file__).parents[2]
DEMO = sorted((ROOT / "data" / "checkpoints").glob("mlp-*.safetensors"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The main job on the embedded data, once for several tests."""
    folder = tmp_path_factory.mktemp("run")
    asked = ("--points", 5, "--json", "-o", "out.nc", "--figure", "out.svg")
    done = lmc_from_nothing("barrier", *DEMO, *asked, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_json_is_one_object_with_everything_promised(run):
    told = json.loads(run[1].stdout)
    assert set(told) == {"a", "b", "model", "data", "split", "t", "alignments", "output", "figure"}
    assert told["t"][0] == 0 and told["t"][-1] == 1
    for row in told["alignments"]:
        assert set(row) >= {
            "name",
            "loss",
            "accuracy",
            "midpoint",
            "loss_barrier",
            "error_barrier",
            "objective",
            "seconds",
        }
        for barrier in (row["loss_barrier"], row["error_barrier"]):
            for baseline in ("chord", "mean"):
                low, high = barrier[baseline]["ci"]
                assert low <= barrier[baseline]["value"] <= high
        assert all(0 <= accuracy <= 1 for accuracy in row["accuracy"])
    assert [row["name"] for row in told["alignments"]] == ["none", "weights"]
    assert "symmetry" in run[1].stderr and "verified" in run[1].stderr


def test_the_netcdf_reads_back_labelled_and_with_its_provenance(run):
    folder, done = run
    told = json.loads(done.stdout)
    dataset = xr.open_dataset(folder / "out.nc")
    schema.validate(dataset, "barrier")
    for name, variable in dataset.variables.items():
        assert variable.attrs.get("long_name") and "units" in variable.attrs, name
    assert dataset.attrs["a_sha256"] == told["a"]["sha256"]
    for name in (
        "a_source",
        "model",
        "data",
        "alignments",
        "versions",
        "command",
        "bootstrap_seed",
        "lmc_schema_version",
    ):
        assert dataset.attrs[name] != ""
    assert np.allclose(dataset.loss.sel(alignment="weights"), told["alignments"][1]["loss"])
    means = dataset.example_loss.astype(np.float64).mean("example")
    assert np.allclose(means, dataset.loss, rtol=1e-6)


def test_a_figure_is_written_and_no_temporary_file_stays(run):
    folder, _ = run
    assert (folder / "out.svg").read_text().lstrip().startswith("<?xml")
    assert sorted(path.name for path in folder.iterdir()) == ["out.nc", "out.svg"]


def test_the_table_has_a_row_per_alignment_and_says_where_the_results_went(tmp_path):
    done = lmc("barrier", *DEMO, "--points", 3, "--align", "random", "--seed", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("random ") for line in lines)
    assert lines[-1].startswith("wrote barrier.nc")
    assert "nan" not in done.stdout


def test_results_of_an_earlier_run_are_never_overwritten_unasked(tmp_path):
    (tmp_path / "barrier.nc").write_text("precious")
    done = lmc("barrier", *DEMO, "--points", 3, "--align", "none", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "barrier.nc").read_text() == "precious"
    assert (tmp_path / "barrier-2.nc").exists()


def test_align_then_apply_gives_the_same_file_and_the_same_function(tmp_path):
    aligned = lmc("align", *DEMO, "-o", "b.safetensors", "--save-permutation", "p.npz", cwd=tmp_path)
    assert aligned.returncode == 0, aligned.stderr
    applied = lmc("apply", DEMO[1], "p.npz", "-o", "again.safetensors", cwd=tmp_path)
    assert applied.returncode == 0, applied.stderr
    one, two = (checkpoints.load(tmp_path / name) for name in ("b.safetensors", "again.safetensors"))
    original = checkpoints.load(DEMO[1])
    assert list(one.state) == list(two.state) == list(original.state)
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
    network = resolve(None, original)
    x = network.example_inputs(batch=8)[0]
    outputs = []
    for state in (original.state, one.state):
        network.module.load_state_dict(state, strict=True)
        outputs.append(network.module(x))
    assert torch.allclose(*outputs, atol=1e-5)
    assert not torch.equal(
        *(
            state["net.0.weight"] if "net.0.weight" in state else next(iter(state.values()))
            for state in (original.state, one.state)
        )
    )


def test_a_planted_copy_is_aligned_back(tmp_path):
    a = checkpoints.load(DEMO[0])
    network = resolve(None, a)
    spec = find_symmetries(network.module, network.example_inputs())
    b, _ = planted_pair(a.state, spec, seed=9)
    checkpoints.save(b, tmp_path / "b.safetensors", {"lmc": a.metadata["lmc"]})
    done = lmc("align", DEMO[0], "b.safetensors", "-o", "back.safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    back = checkpoints.load(tmp_path / "back.safetensors")
    assert all(torch.equal(back.state[name], tensor) for name, tensor in a.state.items())


def test_train_makes_a_checkpoint_that_needs_no_flags(tmp_path):
    for seed in (1, 2):
        done = lmc(
            "train",
            "mlp?widths=64,16,10",
            "--data",
            "digits",
            "--epochs",
            2,
            "--seed",
            seed,
            "-o",
            f"m{seed}.safetensors",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    done = lmc("barrier", "m1.safetensors", "m2.safetensors", "--points", 3, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"] == "digits"


def test_inspect_says_what_a_file_is(tmp_path):
    told = lmc("inspect", DEMO[0], "--json", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    about = json.loads(told.stdout)
    assert about["recognised"]["name"].startswith("mlp")
    assert len(about["digest"]) == 64
    plain = lmc("inspect", DEMO[0], cwd=tmp_path).stdout
    assert about["digest"] in plain


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["barrier", *DEMO, "--dta", "digits"], 2, "Did you mean --data"),
        (["barrier", *DEMO, "--align", "wieghts"], 2, "Did you mean 'weights'"),
        (["barrier", *DEMO, "--align", "weights?restart=2"], 2, "Did you mean 'restarts'"),
        (["barrier", *DEMO, "--data", "digit"], 2, "Did you mean 'digits'"),
        (["barrier", *DEMO, "--figure", "out.pgn"], 2, "Did you mean 'png'"),
        (["barrier", *DEMO, "--points", 1], 2, "2"),
        (["barrier", *DEMO, "--tolerance", 0.1], 2, "goes with --adaptive"),
        (["barrier", *DEMO, "--adaptive", "--tolerance", 0], 2, "positive number"),
        (["barrier", *DEMO, "--confidence", 95], 2, "between 0 and 1"),
        (["barrier", DEMO[0]], 2, ""),
        (["barrier", DEMO[0], "nowhere.pt"], 3, "nowhere.pt"),
        (["barrier", DEMO[0], "text.pt"], 3, "text.pt"),
        (["inspect", "text.pt"], 3, "text.pt"),
        (["apply", DEMO[0], "text.pt", "-o", "o.safetensors"], 3, "holds no permutation"),
        (["align", *DEMO, "-o", "out.pt"], 2, "out.safetensors"),
        (["barrier", *DEMO, "-o", "text.pt/out.nc"], 2, "cannot be written: text.pt"),
        (["barrier", *DEMO, "--threads", 0], 2, "at least 1"),
        (["barrier", *DEMO, "--seed", -1], 2, "from 0 up"),
        (["barrier", *DEMO, "--align", "random?seed=-1"], 2, "from 0 up"),
        (["barrier", *DEMO, "--device", "gpu"], 2, "Did you mean 'cpu'"),
        (["align", DEMO[0], "text.pt", "-o", "text.pt"], 2, "text.safetensors"),
        (["barrier", *DEMO, "--input-shape", "a,b"], 2, "3,32,32"),
    ],
    ids=lambda value: " ".join(Path(str(v)).name for v in value)[:60] if isinstance(value, list) else None,
)
def test_mistakes_end_with_their_exit_code_and_the_fix(tmp_path, monkeypatch, capsys, args, code, message):
    (tmp_path / "text.pt").write_text("no weights here\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, args)))
    assert ended.value.code == code
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["text.pt"]


def test_a_mistake_in_a_real_process_shows_no_traceback(tmp_path):
    done = lmc("barrier", *DEMO, "--align", "wieghts", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_network_whose_symmetries_cannot_be_proved_ends_with_four(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import torch\n"
        "class Branching(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x.flatten(1)) if x.sum() > -1e9 else x\n"
    )
    for seed in (0, 1):
        torch.save(torch.nn.Linear(64, 10).state_dict(), tmp_path / f"{seed}.pt")
        state = {f"layer.{name}": t for name, t in torch.load(tmp_path / f"{seed}.pt").items()}
        torch.save(state, tmp_path / f"{seed}.pt")
    done = lmc("barrier", "0.pt", "1.pt", "--model", "nets.py:Branching", "--data", "digits", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "could not be traced" in done.stderr


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path, capsys):
    """The kernel's own folder takes no files, not even root's."""
    with pytest.raises(SystemExit) as ended:
        main(["barrier", *map(str, DEMO), "-o", "/proc/out.nc"])
    assert ended.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_input_is_never_overwritten(tmp_path, capsys):
    held = shutil.copy(DEMO[1], tmp_path / "b.safetensors")
    before = Path(held).read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["align", str(DEMO[0]), str(held), "-o", str(held)])
    assert ended.value.code == 2
    assert "is an input" in capsys.readouterr().err
    assert Path(held).read_bytes() == before


def test_weights_that_are_not_finite_are_refused_before_any_work(tmp_path, capsys):
    state = checkpoints.load(DEMO[1]).state
    name = next(iter(state))
    checkpoints.save({**state, name: state[name] / 0}, tmp_path / "b.safetensors")
    with pytest.raises(SystemExit) as ended:
        main(["barrier", str(DEMO[0]), str(tmp_path / "b.safetensors")])
    assert ended.value.code == 3
    assert "NaN or infinite" in capsys.readouterr().err


def test_independent_batchnorm_networks_are_called_independent(tmp_path, monkeypatch, capsys):
    """Scales and variances are positive in every network; they must not make two runs look like one."""
    monkeypatch.chdir(tmp_path)
    pair = sorted((ROOT / "data" / "checkpoints").glob("cnn-bn-*.safetensors"))
    main(["barrier", *map(str, pair), "--points", "3", "--align", "none"])
    assert "an independent run" in capsys.readouterr().out


def test_several_alignments_after_one_flag_and_several_state_dicts_in_one_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    state = checkpoints.load(DEMO[0]).state
    torch.save({"model": state, "ema": {name: t + 0.001 for name, t in state.items()}}, "two.pt")
    flags = ["--data", "digits", "--points", "3", "--entry", "ema", "--json"]
    main(["barrier", "two.pt", "two.pt", *flags, "--align", "none", "random"])
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["alignments"]] == ["none", "random"]


def test_inspect_names_what_it_cannot_read_and_shows_the_rest(tmp_path, capsys):
    (tmp_path / "text.pt").write_text("no weights here")
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(tmp_path / "text.pt"), str(DEMO[0])])
    told = capsys.readouterr()
    assert ended.value.code == 3
    assert "text.pt" in told.err
    assert DEMO[0].name in told.out
    assert "test_accuracy" in told.out


def test_help_shows_every_command_with_its_first_line_and_the_exit_codes(tmp_path):
    told = lmc("--help", cwd=tmp_path).stdout
    for command in ("barrier", "align", "apply", "inspect", "convert", "train"):
        assert command in told
    for text in ("Measure the barrier", "For example", "4 the symmetry check failed"):
        assert text in told


@pytest.mark.shared
def test_the_public_pair(shared_data, tmp_path):
    """OTFusion's two networks: accuracies and barriers as published and measured by others."""
    folder = shared_data / "checkpoints" / "otfusion-mnist-mlp"
    done = lmc(
        "barrier",
        folder / "0.checkpoint",
        folder / "1.checkpoint",
        "--data",
        "mnist",
        "--align",
        "none",
        "--align",
        "weights",
        "--json",
        cwd=tmp_path,
        LMC_DATA_DIR=str(shared_data),
    )
    assert done.returncode == 0, done.stderr
    none, weights = json.loads(done.stdout)["alignments"]
    assert 100 * none["accuracy"][0] == pytest.approx(97.72, abs=0.01)
    assert 100 * none["accuracy"][-1] == pytest.approx(97.75, abs=0.01)
    assert 100 * none["midpoint"]["accuracy"] == pytest.approx(73.84, abs=0.01)
    assert none["loss_barrier"]["chord"]["value"] == pytest.approx(1.193, abs=0.003)
    assert weights["loss_barrier"]["chord"]["value"] <= 0.075


@pytest.mark.shared
@pytest.mark.parametrize(
    ("pair", "flags", "ends"),
    [
        ("lenet-10-20/a.pth lenet-10-20/b.pth", "--model lenet --data mnist", (98.77, 98.85)),
        ("cnn-bn-16-32/a.ckpt cnn-bn-16-32/b.ckpt", "--model cnn-bn --data mnist?normalize=none", (98.75, 98.45)),
        (
            "resnet20-cifar10/a.th resnet20-cifar10/b.pth",
            "--model resnet20 --data cifar10-4k?normalize=imagenet --data-b cifar10-4k?normalize=cifar10",
            (99.80, 99.95),
        ),
    ],
)
def test_pairs_that_strangers_trained(shared_data, tmp_path, monkeypatch, capsys, pair, flags, ends):
    """Both ends as published; B is permuted on the way, and has B's accuracy."""
    monkeypatch.chdir(tmp_path)
    files = [str(shared_data / "checkpoints" / name) for name in pair.split()]
    main(
        [
            "barrier",
            *files,
            *flags.split(),
            "--points",
            "2",
            "--align",
            "random",
            "--json",
            "--data-dir",
            str(shared_data),
        ]
    )
    (row,) = json.loads(capsys.readouterr().out)["alignments"]
    assert 100 * row["accuracy"][0] == pytest.approx(ends[0], abs=0.02)
    assert 100 * row["accuracy"][-1] == pytest.approx(ends[1], abs=0.02)


@pytest.mark.shared
def test_bad_files_end_with_three_and_a_short_message(shared_data, capsys):
    for path in sorted((shared_data / "checkpoints" / "bad").iterdir()):
        with pytest.raises(SystemExit) as ended:
            main(["inspect", str(path)])
        told = capsys.readouterr().err
        assert ended.value.code == 3
        assert path.name in told
        assert len(told.strip().splitlines()) <= 6


def test_symmetries_are_listed_with_what_is_frozen_and_the_proof(tmp_path):
    done = lmc("symmetries", DEMO[0], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for part in (
        "fc1.weight[0], fc1.bias[0], fc2.weight[1]",
        "2 groups, 128 units",
        "input: fc1.weight[1]",
        "verified",
    ):
        assert part in done.stdout
    told = json.loads(lmc("symmetries", "vit", "--json", cwd=tmp_path).stdout)
    assert {group["kind"] for group in told["groups"]} == {"residual stream", "heads", "inside head", "units"}
    assert told["verification"]["ok"] and told["parameters_moved"] > 0.99


UNTRACEABLE = """
import torch

class Odd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(64, 8), torch.nn.Linear(8, 10)

    def forward(self, x):
        hidden = self.first(x.flatten(1))
        return self.last(hidden.relu() if float(hidden.sum()) > 0 else hidden.tanh())
"""


def test_a_written_spec_leads_past_a_network_that_cannot_be_traced(tmp_path):
    (tmp_path / "odd.py").write_text(UNTRACEABLE)
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        shapes = {"first.weight": (8, 64), "first.bias": (8,), "last.weight": (10, 8), "last.bias": (10,)}
        torch.save({k: torch.randn(s, generator=generator) for k, s in shapes.items()}, tmp_path / f"{seed}.pt")
    shape = ("--input-shape", "1,8,8")
    failed = lmc("symmetries", "odd.py:Odd", *shape, "--write-spec", "form.toml", cwd=tmp_path)
    assert failed.returncode == 4
    assert "form.toml is a form to fill in" in failed.stderr
    axes = '"first.weight[0]", "first.bias[0]", "last.weight[1]"'
    (tmp_path / "right.toml").write_text(f'[[group]]\nname = "hidden"\nsize = 8\naxes = [{axes}]\n')
    (tmp_path / "wrong.toml").write_text((tmp_path / "right.toml").read_text().replace('"first.bias[0]", ', ""))
    pair = ("barrier", "0.pt", "1.pt", "--model", "odd.py:Odd", "--data", "digits", "--points", 3, "-o", "out.nc")
    done = lmc(*pair, "--spec", "right.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 groups, 8 units, verified" in done.stdout
    wrong = lmc(*pair, "--spec", "wrong.toml", cwd=tmp_path)
    assert wrong.returncode == 4
    assert "hidden" in wrong.stderr
    aligned = lmc(
        "align", *pair[1:5], "--input-shape", "1,8,8", "--spec", "right.toml", "-o", "b.safetensors", cwd=tmp_path
    )
    assert aligned.returncode == 0, aligned.stderr
