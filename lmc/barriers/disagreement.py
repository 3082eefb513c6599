"""On how many examples two points of a path predict different classes: A and B, and each with the midpoint."""

from __future__ import annotations

import numpy as np
import torch

from lmc import schema
from lmc._errors import UsageError
from lmc.barriers.setting import Setting, Variables
from lmc.evaluation.losses import outputs_tensor
from lmc.interpolation import AbstractPath

_POSITIONS = (0.0, 0.5, 1.0)
_PAIRS = ((0, 2), (0, 1), (1, 2))
"""Of the positions, in the order of ``schema.COMPARISONS``: A with B, A with the midpoint, the midpoint with B."""


def disagreement(setting: Setting, path: AbstractPath) -> Variables:
    """Return the share of examples (tokens, for text) on which two points of a path predict different classes.

    Permutations leave what the ends predict as it is; what changes with alignment is the midpoint's agreement with
    them.

    Parameters
    ----------
    setting : Setting
        Network and data.
    path : AbstractPath
        Evaluated at 0, 1/2 and 1.

    Returns
    -------
    dict
        ``disagreement``, dims (comparison,), in [0, 1].

    Raises
    ------
    UsageError
        If the data have no classes.

    References
    ----------
    .. [1] Fort, Hu, Lakshminarayanan. Deep Ensembles: A Loss Landscape Perspective. 2019. Section 4.
    """
    if setting.data.task == "regression":
        raise UsageError("disagreement compares predicted classes; these data are a regression.")
    networks = setting.networks(path, _POSITIONS)
    differ, count = np.zeros(len(_PAIRS)), 0
    with torch.inference_mode():
        for inputs, _ in setting.batches(_POSITIONS):
            pairs = zip(networks, inputs, strict=True)
            predicted = [outputs_tensor(network(x)).argmax(dim=-1) for network, x in pairs]
            differ += [int((predicted[i] != predicted[j]).sum()) for i, j in _PAIRS]
            count += predicted[0].numel()
    assert len(_PAIRS) == len(schema.COMPARISONS)
    return {"disagreement": (("comparison",), differ / count)}
