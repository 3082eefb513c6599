"""Arrays of Keras and JAX as torch keeps them: axes in another order, gates and names of its own.

Keras and JAX put a kernel's outputs last and images' channels last; torch puts outputs first and channels before
height and width. A linear layer after a flattened image therefore reads its inputs in another order, too.
"""

from __future__ import annotations

import numpy as np

NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "gamma": "weight",
    "embedding": "weight",
    "embeddings": "weight",
    "beta": "bias",
    "mean": "running_mean",
    "moving_mean": "running_mean",
    "var": "running_var",
    "moving_variance": "running_var",
}
"""What Keras and JAX call a variable, to torch's word."""


def kernel(array: np.ndarray) -> np.ndarray:
    """Turn a dense kernel (in, out) or a convolution's (*size, in, out) into (out, in, *size)."""
    return np.moveaxis(array, (-1, -2), (0, 1))


def transposed_kernel(array: np.ndarray) -> np.ndarray:
    """Turn Keras's transposed convolution (*size, out, in) into torch's (in, out, *size)."""
    return np.moveaxis(array, (-1, -2), (0, 1))


def depthwise_kernel(array: np.ndarray) -> np.ndarray:
    """Turn a depthwise kernel (*size, in, multiplier) into that of a grouped convolution, (in multiplier, 1, *size)."""
    flat = array.reshape(*array.shape[:-2], 1, -1)
    return kernel(flat)


def after_flatten(weight: np.ndarray, channels: int) -> np.ndarray:
    """Reorder a linear layer's inputs, (out, positions x channels), to torch's (out, channels x positions)."""
    out, inputs = weight.shape
    return weight.reshape(out, inputs // channels, channels).swapaxes(1, 2).reshape(out, inputs)


def lstm(kernel_: np.ndarray, recurrent: np.ndarray, bias: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return torch's names for an LSTM cell; Keras has the gates in torch's order (i, f, c, o) and one bias."""
    found = {"weight_ih_l0": kernel_.T, "weight_hh_l0": recurrent.T}
    return found if bias is None else found | {"bias_ih_l0": bias, "bias_hh_l0": np.zeros_like(bias)}


def gru(kernel_: np.ndarray, recurrent: np.ndarray, bias: np.ndarray | None) -> dict[str, np.ndarray] | None:
    """Return torch's names for a GRU cell, gates z, r, h as r, z, n; None for the older cell, which torch lacks."""
    if bias is not None and bias.ndim != 2:
        return None

    def gates(array: np.ndarray) -> np.ndarray:
        update, reset, new = np.split(array, 3, axis=-1)
        return np.concatenate([reset, update, new], axis=-1)

    found = {"weight_ih_l0": gates(kernel_).T, "weight_hh_l0": gates(recurrent).T}
    return found if bias is None else found | {"bias_ih_l0": gates(bias[0]), "bias_hh_l0": gates(bias[1])}
