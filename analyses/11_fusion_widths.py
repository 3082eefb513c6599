"""Fusion across widths and kinds of layers: two widths into a third, one network into twice its widths, norms, heads.

Akash, Li and Trillos (2022) and Singh and Jaggi (2020) are what the rows follow; networks of one width and many of them
are the matter of 13_many_networks.py. A narrow and a wide MLP with biases are fused into widths between, and a network
is carried into twice its widths, on MNIST; then two CNNs with BatchNorm, whose statistics are measured anew, and two
small ViTs. All 10,000 test images; some minutes on a laptop:

    python analyses/11_fusion_widths.py
"""

from __future__ import annotations

import numpy as np
from common import Claim, Study, flat, mean_over_runs, network, unflat

import lmc
from lmc.evaluation import evaluate_state

SEEDS = (0, 1, 2)
NARROW, MLP, BETWEEN, WIDE = (
    f"mlp?widths=784,{widths},10&bias=true&activation=relu&norm=none"
    for widths in ("100,50,25", "200,100,50", "300,150,75", "400,200,100")
)
CNN = "cnn-bn?channels=16,32&kernel=3&in_channels=1&size=28&classes=10"
VIT = "vit?patch=7&dim=32&depth=2&heads=4&hidden=64&in_channels=1&size=28&classes=10"
PLAIN = {"optimizer": "adam", "lr": 1e-3, "epochs": 2, "batch_size": 64, "schedule": "none"}
TRAINING = {
    NARROW: PLAIN,
    MLP: PLAIN,
    WIDE: PLAIN,
    CNN: {"images": 2000, "optimizer": "adam", "lr": 3e-3, "epochs": 3, "batch_size": 64, "schedule": "cosine"},
    VIT: {"images": 2000, "optimizer": "adam", "lr": 3e-3, "epochs": 8, "batch_size": 64, "schedule": "cosine"},
}
EXAMPLES = 1000
METHODS = {
    "ot": "ot?cost=sqeuclidean",
    "wb, incoming": "wb?sides=incoming",
    "wb": "wb",
    "ot, activations": f"ot?cost=sqeuclidean&on=activations&examples={EXAMPLES}",
    "wb, activations": f"wb?on=activations&examples={EXAMPLES}",
}
SETTINGS = {
    "two widths": (NARROW, WIDE, BETWEEN, METHODS),
    "twice the widths": (MLP, None, WIDE, {"wb": "wb", "wb, mean-field": "wb?normalize=mean-field"}),
    "cnn-bn": (CNN, CNN, CNN, {"vanilla": "vanilla", **METHODS}),
    "vit": (VIT, VIT, VIT, {"vanilla": "vanilla", **METHODS}),
}
"""First and second network, target, and methods."""

study = Study(__file__, "Do barycenters fuse networks of other widths, with norms and with heads?")
train, test = study.data(20_000, 10_000)
few = train.limited(2000)


def trained(reference: str, seed: int) -> dict[str, np.ndarray]:
    """Train a network."""
    settings = dict(TRAINING[reference])
    data = train.limited(settings.pop("images", train.size))
    return flat({"end": lmc.train(network(reference, train, seed).module, data, seed=seed, **settings).state})


def fused(setting: str, seed: int) -> dict[str, list[float]]:
    """Measure the networks of a setting, and what every method makes of them."""
    first, second, target, methods = SETTINGS[setting]
    references = [one for one in (first, second) if one is not None]
    modules = [network(one, train, 0).module for one in (*references, target)]
    specs = [lmc.find_symmetries(module, train.inputs[:2]) for module in modules]
    seeds = (seed, seed + len(SEEDS))
    states = [
        unflat(study.part(trained, reference=one, seed=own), "end") for one, own in zip(references, seeds, strict=False)
    ]
    given = {"data": few, "modules": modules[:-1], "module": modules[-1], "target": specs[-1]}
    made = {f"network {k}": pair for k, pair in enumerate(zip(modules, states, strict=False), start=1)}
    for name, method in methods.items():
        made[name] = modules[-1], lmc.fuse(states, specs[:-1], method=method, **given).state
    rows = {}
    for name, (module, state) in made.items():
        found = evaluate_state(module, state, test)
        assert found.accuracy is not None
        rows[name] = [found.accuracy[0], found.loss[0]]
    return rows


found = {setting: [study.part(fused, setting=setting, seed=seed) for seed in SEEDS] for setting in SETTINGS}
rows = [(setting, name) for setting, runs in found.items() for name in runs[0]]
measured = np.array([[run[name] for run in found[setting]] for setting, name in rows])  # row, seed, (accuracy, loss)
for place, (setting, name) in enumerate(rows):
    right = 100 * measured[place, :, 0]
    print(
        f"  {setting:<18}{name:<18}{right.mean():6.1f} ({right.std(ddof=1):.1f})   {measured[place, :, 1].mean():.3f}"
    )


def points(setting: str, name: str) -> np.ndarray:
    """Return accuracies of the runs, in percent."""
    return 100 * measured[rows.index((setting, name)), :, 0]


def claim(name: str, values: np.ndarray, least: float, literature: str) -> Claim:
    """Claim that a difference is at least so much: with all of the interval, or with none of it."""
    value, (low, high) = mean_over_runs(values)
    unit = "percentage points"
    return Claim(f"{name} (at least {least:g})", value, (low, high), unit, literature, low >= least, high < least)


WIDTHS = "networks of different widths are fused with a small loss of accuracy"
REPAIRED = "with statistics measured anew the fused network is well above the plain average"
worse = [np.minimum(points("two widths", "network 1"), points("two widths", "network 2"))]
claims = [
    claim("two widths: wb minus the worse network", points("two widths", "wb") - worse[0], -5.0, WIDTHS),
    claim(
        "twice the widths: wb minus the network",
        points("twice the widths", "wb") - points("twice the widths", "network 1"),
        -0.05,
        "a network carried into more units keeps its function",
    ),
    *(
        claim(f"{kind}: wb minus vanilla", points(kind, "wb") - points(kind, "vanilla"), 20.0, REPAIRED)
        for kind in ("cnn-bn", "vit")
    ),
]
study.write(
    {
        "row": ("row", [f"{setting}: {name}" for setting, name in rows]),
        "seed": ("seed", list(SEEDS)),
        "accuracy": (("row", "seed"), measured[..., 0], "test accuracy", "1"),
        "loss": (("row", "seed"), measured[..., 1], "test loss", "nats"),
    },
    claims,
    training=TRAINING,
    settings={name: [*given[:3], given[3]] for name, given in SETTINGS.items()},
)
