"""Networks that well-known libraries build by name or by a file of settings; nothing is downloaded.

``--model timm:resnet18``, ``--model torchvision:resnet50?num_classes=10``, and Hugging Face folders, whose
``config.json`` names a class of transformers. Code that a folder brings along is never run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from lmc._errors import ArchitectureError
from lmc._imports import blame
from lmc._optional import require
from lmc.architectures.architecture import Architecture

_PREVIEW = 8  # tokens of an example, where the data do not say


def _timm(name: str, **options: Any) -> nn.Module:
    return require("timm", purpose=f"the network timm:{name}", extra="timm").create_model(name, **options)


def _torchvision(name: str, **options: Any) -> nn.Module:
    models = require("torchvision.models", purpose=f"the network torchvision:{name}", extra="torchvision")
    return models.get_model(name, weights=None, **options)


LIBRARIES: dict[str, Callable[..., nn.Module]] = {"timm": _timm, "torchvision": _torchvision}
"""What stands before the colon of a reference, and what builds the network named after it."""


def is_transformer(metadata: Mapping[str, Any]) -> bool:
    """Say whether a checkpoint came with settings that name a class of transformers."""
    config = metadata.get("config", {})
    classes = config.get("architectures")
    return isinstance(classes, list) and bool(classes) and isinstance(config.get("model_type"), str)


def build_transformer(config: Mapping[str, Any], input_shape: tuple[int, ...] | None = None) -> Architecture:
    """Build the network of a Hugging Face folder, its weights arbitrary.

    Parameters
    ----------
    config : mapping
        The folder's ``config.json``.
    input_shape : tuple of int, optional
        Shape of one example of the data.

    Returns
    -------
    Architecture
        Its module returns the first tensor of what the class returns (logits), and keeps its names.

    Raises
    ------
    ArchitectureError
        If transformers has no such class, cannot build it, or it reads two inputs (encoder and decoder).
    MissingPackageError
        If transformers is not installed.
    """
    name = config["architectures"][0]
    transformers = require("transformers", purpose=f"the network {name} of this folder", extra="transformers")
    found = getattr(transformers, name, None) if isinstance(name, str) and name.isidentifier() else None
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise ArchitectureError(
            f"transformers has no network {str(name)[:80]!r}, as config.json names it. Code beside the weights is "
            "never run: if you trust it, pass it yourself with --model file.py:Class."
        )
    try:
        settings = transformers.AutoConfig.for_model(**config)
        settings._attn_implementation = "eager"
        settings.use_cache = False
        module = found(settings).eval()
    except Exception as error:
        raise ArchitectureError(f"{name} cannot be built from config.json. {blame(error)}") from error
    if getattr(settings, "is_encoder_decoder", False):
        raise ArchitectureError(f"{name} reads two inputs, of encoder and decoder. Wrap it: --model file.py:Class.")
    module.register_forward_hook(_first_tensor)
    tokens = module.main_input_name == "input_ids"
    shape = input_shape or ((_PREVIEW,) if tokens else _image_shape(settings))
    assumed = (f"{name} of transformers, as config.json says",)
    vocab = settings.vocab_size if tokens else None
    return Architecture(name, f"transformers:{name}", module, assumed, shape, "tokens" if tokens else "float", vocab)


def _first_tensor(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Return the logits, which is what loss and accuracy are of."""
    return output.logits if getattr(output, "logits", None) is not None else output[0]


def _image_shape(settings: Any) -> tuple[int, ...] | None:
    size = getattr(settings, "image_size", None)
    return (getattr(settings, "num_channels", 3), size, size) if isinstance(size, int) else None
