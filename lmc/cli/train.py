"""``lmc train NET``: the small trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from lmc.cli.common import Common, check_writable

if TYPE_CHECKING:
    from lmc.architectures import Architecture
    from lmc.datasets import AbstractData


def train(
    model: str,
    /,
    *,
    data: str,
    output: Annotated[Path, Parameter(alias="-o")],
    epochs: int = 20,
    lr: float = 3e-3,
    optimizer: str = "adam",
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 64,
    schedule: str = "cosine",
    common: Common = Common(),  # noqa: B008
) -> None:
    """Train a network and write it so that lmc barrier knows its network and data, where these have names.

    For example:

        lmc train mlp --data digits --seed 3 -o m3.safetensors
        lmc train "resnet20?width=2" --data cifar10 --epochs 30 --optimizer sgd --lr 0.1 -o r.safetensors

    Parameters
    ----------
    model
        Network, as in lmc barrier; sizes that are left open follow the data.
    data
        Dataset, as in lmc barrier; trained on its training split, measured on its test split.
    output
        Safetensors file to write.
    epochs
        Passes over the data.
    lr
        Learning rate at the start.
    optimizer
        adam, adamw or sgd.
    momentum
        Of sgd.
    weight_decay
        Of the optimizer.
    batch_size
        Examples in a step.
    schedule
        Of the learning rate: cosine or none.
    """
    from lmc.checkpoints import save
    from lmc.datasets import open_data
    from lmc.training import train_checkpoint

    common.start()
    check_writable(output, ".safetensors")
    examples = open_data(data, "train", common.data_dir)
    held_out = open_data(data, "test", common.data_dir)
    network = _network(model, examples, common)
    common.note("model", network.reference)
    common.note("data", "\n".join([f"{examples.name} {examples.split}, {examples.size:,} examples", *examples.notes]))
    result, about = train_checkpoint(
        network.module,
        network.reference,
        examples,
        held_out,
        epochs=epochs,
        lr=lr,
        optimizer=optimizer,
        momentum=momentum,
        weight_decay=weight_decay,
        batch_size=batch_size,
        schedule=schedule,
        seed=common.seed,
        device=common.device,
        progress=common.progress,
    )
    save(result.state, output, {"lmc": about})
    if common.json:
        print(json.dumps({**about, "written": str(output)}))
        return
    accuracy = about["test_accuracy"]
    right = "" if accuracy is None else f", {held_out.split} accuracy {100 * accuracy:.2f}%"
    print(f"{'trained':<10}{epochs} epochs, {held_out.split} loss {about['test_loss']:.3f}{right}")
    print(f"wrote {output}")


def _network(model: str, data: AbstractData, common: Common) -> Architecture:
    from lmc.architectures import resolve

    shape = common.shape or data.input_shape
    return resolve(model, input_shape=shape, num_classes=data.num_classes, seed=common.seed)
