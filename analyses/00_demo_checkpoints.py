"""Train the demo's checkpoints: two networks on scikit-learn's digits, two seeds each.

Writes data/checkpoints/*.safetensors (about 0.2 MB in all) and data/README.md. Half a minute on a laptop:

    python analyses/00_demo_checkpoints.py

Plain SGD with a large step finds solutions that weight matching can bring into one basin; Adam's would leave a larger
barrier. Each file carries its own model, data, settings and accuracy, so that `lmc barrier A B` needs no options.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import lmc
from lmc import train_checkpoint

DATA = Path(__file__).parents[1] / "data"
SEEDS = (1, 2)
NETWORKS = {
    "mlp": {"model": "mlp?width=64&depth=2", "epochs": 20, "lr": 0.1},
    "cnn-bn": {"model": "cnn-bn?channels=16,32", "epochs": 10, "lr": 0.05},
}
COMMON = {"optimizer": "sgd", "momentum": 0.9, "batch_size": 64, "schedule": "cosine"}

digits_train, digits_test = lmc.open_data("digits", split="train"), lmc.open_data("digits", split="test")

# 1. Train: the seed decides the initial weights and the order of the examples.
for name, network in NETWORKS.items():
    settings = {**COMMON, **network}
    reference = settings.pop("model")
    for seed in SEEDS:
        shape, classes = digits_train.input_shape, digits_train.num_classes
        architecture = lmc.resolve(reference, input_shape=shape, num_classes=classes, seed=seed)
        result, description = train_checkpoint(
            architecture.module, architecture.reference, digits_train, digits_test, seed=seed, **settings
        )
        path = lmc.save(result.state, DATA / "checkpoints" / f"{name}-{seed}.safetensors", {"lmc": description})
        print(
            f"{path.name}: test accuracy {description['test_accuracy']:.3f}, train loss {description['train_loss']:.4f}"
        )

# 2. Measure what is worth knowing of each pair: the middle of the straight line, as it is and after weight matching.
pairs = []
for name in NETWORKS:
    a, b = (lmc.load(DATA / "checkpoints" / f"{name}-{seed}.safetensors") for seed in SEEDS)
    architecture = lmc.resolve(None, a)
    result = lmc.barrier(architecture.module, a.state, b.state, digits_test, align=("none", "weights"), points=3)
    plain, aligned = (100 * float(result.accuracy.sel(alignment=kind, t=0.5)) for kind in ("none", "weights"))
    print(f"{name}: accuracy in the middle {plain:.1f}, after weight matching {aligned:.1f}")
    pairs.append(f"| {name} | `{architecture.reference}` | {plain:.1f} | {aligned:.1f} |")

# 3. Say where the files come from.
files = []
for path in sorted((DATA / "checkpoints").glob("*.safetensors")):
    made = lmc.load(path).metadata["lmc"]
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    files.append(f"| {path.name} | {len(content):,} | {100 * made['test_accuracy']:.1f} | `{digest}` |")
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
