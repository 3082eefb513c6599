"""Train the demo's checkpoints: two networks on scikit-learn's digits, two seeds each.

Writes data/checkpoints/*.safetensors (about 0.2 MB in all) and data/README.md. Half a minute on a laptop:

    python analyses/00_demo_checkpoints.py

Plain SGD with a large step finds solutions that weight matching can bring into one basin; Adam's would leave a larger
barrier. Each file carries its own model, data, settings and accuracy, so that `lmc barrier A B` needs no options.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

from lmc.alignment import WeightMatching, align
from lmc.architectures import resolve
from lmc.checkpoints import load, save
from lmc.datasets import open_data
from lmc.evaluation import evaluate_state
from lmc.interpolation import LinearPath
from lmc.symmetry import find_symmetries
from lmc.training import train_checkpoint

DATA = Path(__file__).parents[1] / "data"
SEEDS = (1, 2)
NETWORKS = {
    "mlp": {"model": "mlp?width=64&depth=2", "epochs": 20, "lr": 0.1},
    "cnn-bn": {"model": "cnn-bn?channels=16,32", "epochs": 10, "lr": 0.05},
}
COMMON = {"optimizer": "sgd", "momentum": 0.9, "batch_size": 64, "schedule": "cosine"}

digits_train, digits_test = open_data("digits", split="train"), open_data("digits", split="test")

# 1. Train: the seed decides the initial weights and the order of the examples.
for name, network in NETWORKS.items():
    settings = {**COMMON, **network}
    reference = settings.pop("model")
    for seed in SEEDS:
        shape, classes = digits_train.input_shape, digits_train.num_classes
        architecture = resolve(reference, input_shape=shape, num_classes=classes, seed=seed)
        result, description = train_checkpoint(
            architecture.module, architecture.reference, digits_train, digits_test, seed=seed, **settings
        )
        path = save(result.state, DATA / "checkpoints" / f"{name}-{seed}.safetensors", {"lmc": description})
        print(
            f"{path.name}: test accuracy {description['test_accuracy']:.3f}, train loss {description['train_loss']:.4f}"
        )

# 2. Measure what is worth knowing of each pair: the middle of the straight line, as it is and after weight matching.
middles = {}
for name in NETWORKS:
    a, b = (load(DATA / "checkpoints" / f"{name}-{seed}.safetensors") for seed in SEEDS)
    architecture = resolve(None, a)
    symmetries = find_symmetries(architecture.module, architecture.example_inputs())
    aligned = align(a.state, b.state, symmetries, method=WeightMatching(restarts=4)).apply(b.state)
    for kind, end in (("none", b.state), ("weights", aligned)):
        middle = LinearPath(a.state, end).at(0.5)
        middles[name, kind] = evaluate_state(architecture.module, middle, digits_test).accuracy[0]
    print(f"{name}: middle {middles[name, 'none']:.3f}, after weight matching {middles[name, 'weights']:.3f}")

# 3. Say where the files come from.
files = []
for name, seed in itertools.product(NETWORKS, SEEDS):
    path = DATA / "checkpoints" / f"{name}-{seed}.safetensors"
    made = load(path).metadata["lmc"]
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    files.append(f"| {path.name} | {len(content):,} | {100 * made['test_accuracy']:.1f} | `{digest}` |")
pairs = [
    f"| {name} | `{resolve(None, load(DATA / 'checkpoints' / f'{name}-1.safetensors')).reference}` "
    f"| {100 * middles[name, 'none']:.1f} | {100 * middles[name, 'weights']:.1f} |"
    for name in NETWORKS
]
versions = made["versions"]
(DATA / "README.md").write_text(
    f"""# Demo checkpoints

Networks trained for this project on the digits that scikit-learn ships (1,797 images of 8 x 8; 1,297 to train on, 500
to test on; Alpaydin and Kaynak, UCI 1998, CC BY 4.0). They carry the project's licence. Written by
`analyses/00_demo_checkpoints.py` with torch {versions["torch"]}, Python {versions["python"]}; each header holds model,
data, settings and accuracy (`lmc inspect`). Another machine gives weights that differ in the last digits.

| file | bytes | test accuracy, % | SHA-256 |
|---|---|---|---|
{chr(10).join(files)}

The two files of a network differ in their seed only. Accuracy at the middle of the straight line between them:

| pair | network | as they are, % | after weight matching, % |
|---|---|---|---|
{chr(10).join(pairs)}
""",
    encoding="utf-8",
)
print(f"wrote {DATA / 'README.md'}")
