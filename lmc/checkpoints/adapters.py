"""LoRA adapters (Hu et al. 2021): low-rank changes of some matrices, which are a network only on top of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lmc._errors import MismatchError
from lmc._types import StateDict
from lmc.checkpoints.checkpoint import Checkpoint

_DOWN, _UP = ".lora_A.", ".lora_B."
_PREFIX = "base_model.model."
"""What peft puts before every name."""


def describe_adapter(state: StateDict, config: Mapping[str, Any]) -> str | None:
    """Return rank and base of an adapter in a few words, None for what is no adapter.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights of a checkpoint.
    config : mapping
        Its ``adapter_config.json``, where there is one.
    """
    down = [tensor for name, tensor in state.items() if _DOWN in name and tensor.dim() == 2]
    if not down:
        return None
    ranks = sorted({len(tensor) for tensor in down})
    base = config.get("base_model_name_or_path")
    return f"rank {', '.join(map(str, ranks))}, {len(down)} matrices" + (f", of {base}" if base else "")


def merge(base: Checkpoint, adapter: Checkpoint, alpha: float | None = None) -> dict[str, Tensor]:
    """Add an adapter to the network it was trained on: W + alpha / r B A.

    Parameters
    ----------
    base : Checkpoint
        The whole network.
    adapter : Checkpoint
        Of ``peft``: matrices ``lora_A`` (r, inputs) and ``lora_B`` (outputs, r).
    alpha : float, optional
        ``lora_alpha``; by default that of the adapter's ``adapter_config.json``.

    Returns
    -------
    dict of str to Tensor
        Every tensor of the base under its name and type; sums are formed in float32.

    Raises
    ------
    MismatchError
        If alpha is not known, or the adapter changes a matrix that the base does not have, or that no rule covers.
    """
    config = adapter.metadata.get("config", {})
    alpha = config.get("lora_alpha") if alpha is None else alpha
    if not isinstance(alpha, int | float):
        raise MismatchError(f"{adapter.source} records no lora_alpha (adapter_config.json). Pass --alpha.")
    merged = dict(base.state)
    others = [name for name in adapter.state if _DOWN not in name and _UP not in name]
    if others:
        raise MismatchError(f"{adapter.source} holds more than LoRA matrices ({others[0]}): merge it with peft.")
    for name, down in adapter.state.items():
        if _DOWN in name:
            target = _target(name, base)
            up = adapter.state.get(name.replace(_DOWN, _UP))
            if target is None or up is None or (len(up), down.shape[-1]) != tuple(base.state[target].shape):
                raise MismatchError(f"{adapter.source}: {name} fits no matrix of {base.source}.")
            rank = len(down) ** 0.5 if config.get("use_rslora") else len(down)
            change = up.float() @ down.float() * (alpha / rank)
            merged[target] = (base.state[target].float() + change).to(base.state[target].dtype)
    return merged


def _target(name: str, base: Checkpoint) -> str | None:
    """Return the base's name for the matrix that an adapter's matrix belongs to."""
    target = name.removeprefix(_PREFIX).partition(_DOWN)[0] + ".weight"
    return next((known for known in (target, target.replace(".base_layer", "")) if known in base.state), None)
