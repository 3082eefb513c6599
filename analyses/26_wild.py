"""The permutation conjecture on checkpoints in the wild: every folder of the shared data with a pair or more.

Networks that strangers trained and published, each folder tested as by `lmc conjecture` on all test images of MNIST,
or 1,000 of CIFAR-10 (those the networks were trained on: no others are at hand). Reproduced means connected: an error
barrier surely under 2% by some alignment. Two folders are left out, whose networks answer no named dataset. Takes
a quarter of an hour on a laptop.
Skipped where LMC_SHARED_DATA names no folder of such checkpoints:

    python analyses/26_wild.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from common import Claim, Study

import lmc
from lmc import pipeline
from lmc.conjectures import conjecture

RAW, CIFAR = "mnist?normalize=none", "cifar10-4k?limit=1000"
FOLDERS = {
    "otfusion-mnist-mlp": ("mnist", "*"),
    "lenet-10-20": ("mnist", "[abcde].*"),
    "mlp-500": (RAW, "*"),
    "lightning-mlp": (RAW, "*"),
    "mlp-bn-ensemble": (RAW, "*"),
    "lenet-20-50": ("mnist", "*"),
    "curve-cnn": (RAW, "endpoint*200*"),
    "cnn-bn-16-32": (RAW, "*"),
    "keras-cnn": (RAW, "*"),
    "lstm-rows": (RAW, "*"),
    "resnet-cifar-tutorial": (CIFAR + "&normalize=none", "[ab].[!o]*"),
    "resnet20-cifar10": (CIFAR, "*"),
}
"""Dataset and files; the five LeNets are of five people."""

LADDER = ("none", "weights?restarts=4&scale=plain", "activations")
EXAMPLES = 2000  # training images that activations are matched on; CIFAR-10 has none apart from those measured on

study = Study(__file__, "Are published checkpoints of strangers linearly connected once their units are matched?")
shared = Path(os.environ.get("LMC_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")) / "checkpoints"
if not shared.is_dir():
    print(f"{study.name}: skipped, there are no shared checkpoints in {shared} (LMC_SHARED_DATA names the folder)")
    sys.exit(0)
found_in = {name: sorted(str(p.name) for p in (shared / name).glob(given[1])) for name, given in FOLDERS.items()}


def verdicts(folder: str, files: list[str], data: str) -> dict[str, np.ndarray]:
    """Test the pairs of a folder: names, verdicts, methods, and barriers as they are and by the method, by pair."""
    loaded = pipeline.load_set([lmc.load(shared / folder / one) for one in files], data=data)
    first = next(iter(loaded.models.values()))
    proof = pipeline.prove(first.architecture.module, first.architecture.example_inputs(seed=0))
    cifar = data.startswith("cifar")
    result = conjecture(
        first.architecture.module,
        {name: one.state for name, one in loaded.models.items()},
        loaded.data,
        ladder=LADDER[:2] if cifar else LADDER,
        align_data=None if cifar else lmc.open_data(data, "train").limited(EXAMPLES),
        proof=proof,
        points=11,
        refused=loaded.refused,
    )
    chosen = {"alignment": result.method}  # chosen on the other half of the examples
    share = result.get("fraction_connected_ci", result.fraction_connected.expand_dims(bound=2))
    return {
        "names": np.array([f"{folder}: {a} - {b}" for a, b in zip(result.a.values, result.b.values, strict=True)]),
        "verdict": result.verdict.values.astype(str),
        "method": result.method.values.astype(str),
        "plain": result.barrier.sel(alignment="none").values,
        "chosen": result.barrier.sel(chosen).values,
        "interval": result.barrier_ci.sel(chosen).values,
        "share": np.array([float(result.fraction_connected), *share.values]),
        "passed": result.control_passed.values.astype(float),
    }


made, failed = {}, {}
for folder, (data, _) in FOLDERS.items():
    if len(found_in[folder]) < 2:
        failed[folder] = f"{len(found_in[folder])} files"
        continue
    try:
        made[folder] = study.part(verdicts, folder=folder, files=found_in[folder], data=data)
    except lmc.LmcError as error:
        failed[folder] = str(error)
        print(f"  {folder}: {error}")
    except KeyboardInterrupt:  # what is there is written; another run goes on
        failed |= dict.fromkeys([one for one in FOLDERS if one not in made and one not in failed], "not run")
        break

whole = {key: np.concatenate([one[key] for one in made.values()]) for key in ("names", "verdict", "method")}
numbers = {key: np.concatenate([one[key] for one in made.values()]) for key in ("plain", "chosen", "interval")}
claims = []
for folder, one in made.items():
    plain, matched = 100 * one["plain"].mean(), 100 * one["chosen"].mean()
    if len(one["names"]) == 1:
        text = f"{folder}: error barrier of its pair by {one['method'][0]} (as they are {plain:.1f}%)"
        value, interval = one["chosen"][0], one["interval"][0]
        holds, fails = one["verdict"][0] == "connected", one["verdict"][0].startswith("not connected")
    else:
        text = f"{folder}: share of its {len(one['names'])} pairs that are connected (error barriers {plain:.1f}% as "
        text += f"they are, {matched:.1f}% matched)"
        value, interval = one["share"][0], one["share"][1:]
        holds, fails = value == 1, any(word.startswith("not connected") for word in one["verdict"])
    claims.append(
        Claim(text, float(value), interval, "1", "solutions of SGD are connected up to permutation", holds, fails)
    )
study.write(
    {
        "pair": ("pair", whole["names"]),
        "verdict": ("pair", whole["verdict"], "verdict of the conjecture's test", "1"),
        "method": ("pair", whole["method"], "alignment that was chosen on the other half of the examples", "1"),
        "plain_error_barrier": ("pair", numbers["plain"], "error barrier as the files are", "1"),
        "error_barrier": ("pair", numbers["chosen"], "error barrier by that alignment", "1"),
        "error_barrier_ci": (("pair", "bound"), numbers["interval"], "95% interval of it", "1"),
    },
    claims,
    folders=FOLDERS,
    failed=failed,
)
