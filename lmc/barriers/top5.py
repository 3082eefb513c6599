"""How often the target is among the five classes with the highest scores."""

from __future__ import annotations

import torch
from torch import Tensor

from lmc._errors import UsageError
from lmc.barriers.setting import Setting, Variables
from lmc.evaluation import evaluate_path
from lmc.interpolation import AbstractPath


def in_top5(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 1 where the target is among the five best, shape (n,); of tokens their share in each window.

    Raises
    ------
    UsageError
        If there are five classes or fewer: every target is then among the best.
    """
    if outputs.shape[-1] <= 5:
        raise UsageError(f"top5 needs more than 5 classes, the network has {outputs.shape[-1]}.")
    found = (outputs.topk(5, dim=-1).indices == targets[..., None]).any(dim=-1).to(torch.float32)
    return found if found.ndim == 1 else found.flatten(1).mean(dim=1)


def top5(setting: Setting, path: AbstractPath) -> Variables:
    """Return the top-5 accuracy at every position; a second evaluation of the path.

    Parameters
    ----------
    setting : Setting
        Network, data and positions.
    path : AbstractPath
        Where the weights come from.

    Returns
    -------
    dict
        ``top5_accuracy``, dims (t,), in [0, 1].

    Raises
    ------
    UsageError
        If the data have no classes, or five at the most.
    """
    if setting.data.task == "regression":
        raise UsageError("top5 counts classes; these data are a regression.")
    found = evaluate_path(
        setting.module,
        path,
        setting.t,
        setting.data,
        loss=in_top5,
        normalizations=setting.normalizations,
        device=setting.device,
        dtype=setting.dtype,
        batch_size=setting.batch_size,
    )
    return {"top5_accuracy": (("t",), found.loss)}
