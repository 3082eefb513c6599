"""Whether weights are those of a network that can be run: complete, and finite."""

from __future__ import annotations

import torch
from torch import Tensor

from lmc._errors import CheckpointError
from lmc.checkpoints.checkpoint import Checkpoint

_SHOWN = 4


def check_usable(checkpoint: Checkpoint) -> None:
    """Refuse weights that no network computes anything with.

    Parameters
    ----------
    checkpoint : Checkpoint
        Its tensors are read once; nothing of their size is allocated.

    Raises
    ------
    CheckpointError
        Where a matrix or kernel has no entries (a part of a sharded run), a weight is NaN or infinite (a diverged run),
        or the file is an adapter, which changes a network and is none.
    """
    source, state = checkpoint.source, checkpoint.state
    if checkpoint.metadata.get("adapter"):
        raise CheckpointError(
            f"{source} is a LoRA adapter ({checkpoint.metadata['adapter']}), not a network.\n"
            "  Merge it with the network it was trained on: lmc convert ADAPTER --base BASE -o merged.safetensors"
        )
    empty = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.numel()]
    if any(state[name].dim() > 1 or name.endswith("weight") for name in empty):
        raise CheckpointError(
            f"{source} has weights without entries: {_names(empty)}.\n"
            "  So does one part of a run that was spread over devices (FSDP, ZeRO-3): save the full state dict."
        )
    broken = [name for name, tensor in state.items() if tensor.numel() and not _is_finite(tensor)]
    if broken:
        raise CheckpointError(
            f"{source} has NaN or infinite weights in {_names(broken)}: the run diverged. "
            "Take an earlier checkpoint of it."
        )


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    if tensor.element_size() == 1:  # float8 knows no comparisons
        tensor = tensor.float()
    return all(bool(torch.isfinite(end)) for end in tensor.aminmax())  # NaN is carried through


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
