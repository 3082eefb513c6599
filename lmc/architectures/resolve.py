"""From a reference, a checkpoint's own word or the shapes of its weights to a network."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lmc._errors import ArchitectureError, LmcError, UsageError, unknown
from lmc._imports import blame, import_object, which_name
from lmc._reference import Reference
from lmc._types import StateDict
from lmc.architectures.architecture import (
    CHANNEL_FIX,
    AbstractNetwork,
    Architecture,
    Shape,
    flat_size,
    shapes_of,
    try_forward,
)
from lmc.architectures.graphs import build_graph
from lmc.architectures.libraries import LIBRARIES, build_transformer, is_transformer
from lmc.architectures.registry import NETWORKS

if TYPE_CHECKING:
    from lmc.checkpoints import Checkpoint

_HEADS_UNKNOWN = ("vit", "gpt", "llama")
_EXAMPLES = "--model lenet, --model 'mlp?activation=tanh', --model nets.py:MyNet or --model package.module:factory"


def resolve(
    reference: str | None = None,
    checkpoint: Checkpoint | None = None,
    *,
    input_shape: Shape | None = None,
    num_classes: int | None = None,
    seed: int = 0,
) -> Architecture:
    """Find the network that a set of weights belongs to, or build a fresh one for a dataset.

    An import path is executed, since the user wrote it. A registered name takes the sizes that its options leave open
    from the weights, or from the dataset where there are no weights. Without a reference the checkpoint's own metadata
    is asked (registered names only: nothing named in a file is ever imported), then the shapes of its weights.

    Parameters
    ----------
    reference : str, optional
        ``package.module:factory``, ``file.py:Class``, ``timm:NAME``, ``torchvision:NAME`` or a registered name,
        with ``?option=value&...``.
    checkpoint : Checkpoint, optional
        Its ``state``, ``source`` and ``metadata`` are read.
    input_shape : tuple of int, optional
        Shape of one example of the data, without the batch.
    num_classes : int, optional
        Classes of the data (tokens, for text).
    seed : int
        Of the initial weights; the global random state is left alone.

    Returns
    -------
    Architecture
        With its module in eval mode.

    Raises
    ------
    ArchitectureError
        If nothing fits, several networks fit, or the module fails when it is built or run once.
    UsageError
        For an unknown name or option.
    """
    assumptions: tuple[str, ...] = ()
    if reference is not None:
        parsed = Reference.parse(reference)
    elif checkpoint is None:
        raise UsageError(f"A model is needed. Examples: {_EXAMPLES}.")
    elif "model" in checkpoint.metadata.get("lmc", {}):
        parsed = _from_metadata(checkpoint)
        assumptions = _from_its_word(parsed)
        input_shape = input_shape or _recorded_shape(checkpoint)
    elif is_transformer(checkpoint.metadata):
        config = checkpoint.metadata["config"]
        return _checked(_build(lambda: build_transformer(config, input_shape), checkpoint.source, seed), num_classes)
    elif checkpoint.metadata.get("trusted graph"):
        return _checked(build_graph(checkpoint.metadata["trusted graph"], input_shape), num_classes)
    else:
        found = _recognise(checkpoint, input_shape)
        network = _build(lambda: NETWORKS[found.name](**found.options), str(found), seed)
        return _finish(network, _assumed(network), input_shape, num_classes)
    if ":" in parsed.name:
        return _from_code(parsed, input_shape, num_classes, seed)
    network = _named(parsed, checkpoint, input_shape, num_classes, seed)
    if checkpoint is not None and "heads" in network.options and "heads" not in parsed.options:
        assumptions += network.assumed
    return _finish(network, assumptions, input_shape, num_classes)


def identify(checkpoint: Checkpoint) -> Architecture:
    """Say which registered network a checkpoint holds, without making weights for it.

    Parameters
    ----------
    checkpoint : Checkpoint
        Its ``state``, ``source`` and ``metadata`` are read; no tensor's values are.

    Returns
    -------
    Architecture
        As `resolve` finds it, with its module on the device ``meta``.

    Raises
    ------
    ArchitectureError
        If no network or several fit.
    """
    recorded = "model" in checkpoint.metadata.get("lmc", {})
    if not recorded and is_transformer(checkpoint.metadata):
        with torch.device("meta"):
            return build_transformer(checkpoint.metadata["config"])
    found = _from_metadata(checkpoint) if recorded else _recognise(checkpoint, None)
    with torch.device("meta"):
        if recorded:
            network = _named(found, checkpoint, None, None, 0)
        else:
            network = _build(lambda: NETWORKS[found.name](**found.options), str(found), 0)
    assumptions = _from_its_word(found) if recorded else _assumed(network)
    reference = str(Reference(network.name, network.options))
    return Architecture(network.describe(), reference, network.eval(), assumptions, tuple(network.input_shape))


def _assumed(network: AbstractNetwork) -> tuple[str, ...]:
    return (f"recognised as {network.describe()}", *network.assumed)


def _from_its_word(reference: Reference) -> tuple[str, ...]:
    return (f"model {reference.name} from the checkpoint's own metadata",)


def _named(
    reference: Reference,
    checkpoint: Checkpoint | None,
    input_shape: Shape | None,
    num_classes: int | None,
    seed: int,
) -> AbstractNetwork:
    """Build a registered network: its options, then what the weights or the dataset say, then its defaults."""
    if reference.name not in NETWORKS:
        if reference.name.endswith(".py"):
            raise UsageError(which_name(reference.name))
        hint = " Or an import path: package.module:factory, file.py:Class."
        raise UsageError(f"{unknown('model', reference.name, NETWORKS)}{hint}")
    network = NETWORKS[reference.name]
    options: dict[str, Any] = {}
    if checkpoint is not None:
        options = network.from_state(checkpoint.state, input_shape) or {}
    elif input_shape is not None and num_classes is not None:
        options = network.from_data(input_shape, num_classes)
    return _build(lambda: reference.call(network, **options), str(reference), seed)


def _from_code(reference: Reference, input_shape: Shape | None, num_classes: int | None, seed: int) -> Architecture:
    factory = _factory(reference.name)
    if isinstance(factory, nn.Module) and not reference.options:
        module = copy.deepcopy(factory)
    else:
        module = _build(lambda: reference.call(factory), str(reference), seed) if callable(factory) else factory
    if not isinstance(module, nn.Module):
        raise ArchitectureError(f"{reference.name!r} gives {type(module).__name__}, not a torch.nn.Module.")
    name = reference.name.rpartition(":")[2]
    found = Architecture(name, str(reference), module.eval(), (), input_shape)
    try:
        return _checked(found, num_classes)
    except ArchitectureError:
        # Nothing but a run tells whether foreign code reads numbers or tokens.
        said = ("token inputs assumed: it does not run on floating-point ones",)
        tokens = replace(found, input_kind="tokens", vocab=num_classes, assumptions=said)
        with contextlib.suppress(ArchitectureError):
            return _checked(tokens, num_classes)
        raise


def _factory(name: str) -> Any:
    library, _, network = name.partition(":")
    return partial(LIBRARIES[library], network) if library in LIBRARIES else import_object(name, ArchitectureError)


def _build(factory: Callable[[], Any], name: str, seed: int) -> Any:
    """Call a factory with seeded initial weights, and without touching the global random state."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return factory()
    except LmcError:
        raise
    except Exception as error:
        raise ArchitectureError(f"{name}: the network cannot be built. {blame(error)}") from error


def _finish(
    network: AbstractNetwork, assumptions: tuple[str, ...], input_shape: Shape | None, num_classes: int | None
) -> Architecture:
    if input_shape is not None and not network.takes(input_shape):
        lacks_channel = len(input_shape) == 2 and network.takes((1, *input_shape))
        fix = "Pass the --data it was trained on, or another --model."
        raise ArchitectureError(
            f"{network.describe()} reads examples of shape {network.input_shape}; the data has {tuple(input_shape)} "
            f"({flat_size(input_shape)} entries). {CHANNEL_FIX if lacks_channel else fix}"
        )
    architecture = Architecture(
        network.describe(),
        str(Reference(network.name, network.options)),
        network.eval(),
        assumptions,
        tuple(input_shape or network.input_shape),
        network.input_kind,
        network.options.get("vocab"),
    )
    return _checked(architecture, num_classes)


def _checked(architecture: Architecture, num_classes: int | None) -> Architecture:
    """Run the network once, where its input is known, so that it fails here and not hours in."""
    if architecture.input_shape is None:
        return architecture
    outputs = try_forward(architecture.module, architecture.example_inputs(), architecture.name)
    if num_classes is None:
        return architecture
    if not isinstance(outputs, Tensor):
        raise ArchitectureError(
            f"{architecture.name} returns {type(outputs).__name__}; one tensor of logits is needed."
        )
    if outputs.ndim > 1 and outputs.shape[-1] < num_classes:
        raise ArchitectureError(
            f"{architecture.name} has {outputs.shape[-1]} outputs; the data has {num_classes} classes. "
            "Pass the --data it was trained on."
        )
    return architecture


def _from_metadata(checkpoint: Checkpoint) -> Reference:
    text = str(checkpoint.metadata["lmc"]["model"])
    reference = Reference.parse(text)
    if reference.name not in NETWORKS:
        raise ArchitectureError(
            f"{checkpoint.source} was saved as {text!r}. Code named inside a checkpoint is never run: "
            f"if you trust it, pass it yourself with --model {text!r}."
        )
    return reference


def _recorded_shape(checkpoint: Checkpoint) -> Shape | None:
    shape = checkpoint.metadata["lmc"].get("input_shape")
    usable = isinstance(shape, list) and shape and all(isinstance(size, int) and size > 0 for size in shape)
    return tuple(shape) if usable else None


def _recognise(checkpoint: Checkpoint, input_shape: Shape | None) -> Reference:
    state = checkpoint.state
    found = _candidates(state, input_shape)
    while not found and (bare := _without_wrapper(state)):
        state, found = bare, _candidates(bare, input_shape)
    certain = [name for name in found if name not in _HEADS_UNKNOWN]
    if len(certain) == 1:
        return Reference(certain[0], found[certain[0]])
    shown = ", ".join(f"{key} {shape}" for key, shape in list(shapes_of(checkpoint.state).items())[:4])
    problem = f"could be {' or '.join(found)}" if found else f"is none of {', '.join(NETWORKS)}"
    hint = "".join(f"--model '{name}?heads=4', with its number of heads, or " for name in found if name not in certain)
    if checkpoint.metadata.get("graph") == "torch.export":
        hint += "use the graph in the file, if you trust it (--trust-pickle FILE; it can run code), or pass "
    raise ArchitectureError(
        f"{checkpoint.source}: the network {problem}, going by its names and shapes ({shown}, ...). "
        f"Say which it is: {hint}{_EXAMPLES}."
    )


def _without_wrapper(state: StateDict) -> dict[str, Tensor]:
    """Return the weights of a network that stands alone inside another module (``model.``, ``net.``), else nothing."""
    outer = {name.partition(".")[0] for name in state}
    inner = {name.partition(".")[2]: tensor for name, tensor in state.items()}
    return inner if len(outer) == 1 and "" not in inner else {}


def _candidates(state: StateDict, input_shape: Shape | None) -> dict[str, dict[str, Any]]:
    """Return the registered networks, with their options, that have exactly these names and shapes."""
    found = {name: network.from_state(state, input_shape) for name, network in NETWORKS.items()}
    return {name: options for name, options in found.items() if options is not None and _explains(name, options, state)}


def recognised_as(state: StateDict) -> str:
    """Return what the registered networks that weights could belong to are called, ``""`` where there is none."""
    with torch.device("meta"):
        return " or ".join(NETWORKS[name](**options).describe() for name, options in _candidates(state, None).items())


def _explains(name: str, options: dict[str, Any], state: StateDict) -> bool:
    """Say whether the network has exactly the keys and shapes of the weights, batch counters apart."""
    try:
        with torch.device("meta"):
            wanted = shapes_of(NETWORKS[name](**options).state_dict())
    except (UsageError, KeyError, ValueError, RuntimeError):
        return False
    have = shapes_of(state)
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    return have == {key: shape for key, shape in wanted.items() if key not in counters or key in have}
