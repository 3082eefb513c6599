"""Keras: whole-model and weights files (.h5) and Keras 3 archives (.keras), in torch's layout.

The model's configuration is read as JSON: it tells classes and order of the layers. Nothing is built from it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from lmc._errors import CheckpointError
from lmc._optional import require
from lmc.checkpoints import layout
from lmc.checkpoints.format import Contents, Format, Sample, check_size, printable, refuse

_PURPOSE = "reading checkpoints of Keras"
_VARIABLES = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "LayerNormalization": ("gamma", "beta"),
    "GroupNormalization": ("gamma", "beta"),
    "Embedding": ("embeddings",),
    "LSTM": ("kernel", "recurrent_kernel", "bias"),
    "GRU": ("kernel", "recurrent_kernel", "bias"),
    "SimpleRNN": ("kernel", "recurrent_kernel", "bias"),
}
"""In the order in which Keras 3 numbers them; every other layer has a kernel and a bias."""

_ABSENT = {"gamma": "scale", "beta": "center", "bias": "use_bias"}
"""Variable, and the setting that says whether there is one."""


@dataclass
class _Found:
    """What was read so far; ``channels`` are those of the last image, ``flat`` says that it was flattened since."""

    state: dict[str, np.ndarray] = field(default_factory=dict)
    transposed: list[str] = field(default_factory=list)
    reordered: dict[str, str] = field(default_factory=dict)
    channels: int | None = None
    flat: bool = False


def _is_h5(sample: Sample) -> bool:
    return sample.head.startswith(b"\x89HDF\r\n\x1a\n")


def _is_archive(sample: Sample) -> bool:
    return sample.member("model.weights.h5") is not None


def _read_h5(sample: Sample) -> Contents:
    h5py = require("h5py", purpose=_PURPOSE, extra="keras")
    return _guarded(sample, lambda: _whole(sample, h5py.File(sample.path, "r")))


def _read_archive(sample: Sample) -> Contents:
    h5py = require("h5py", purpose=_PURPOSE, extra="keras")
    weights, config, about = (sample.member(name) for name in ("model.weights.h5", "config.json", "metadata.json"))
    assert weights is not None

    def read() -> Contents:
        described = json.loads(sample.read_member(config)) if config else {}
        version = json.loads(sample.read_member(about)).get("keras_version") if about else None
        file = h5py.File(io.BytesIO(sample.read_member(weights)), "r")
        return _contents(_numbered(sample, file, described), version)

    return _guarded(sample, read)


def _guarded(sample: Sample, read: Any) -> Contents:
    try:
        return read()
    except CheckpointError:
        raise
    except Exception as error:  # h5py raises whatever HDF5 and damaged bytes make of it
        what = f"is a damaged or unusual HDF5 file of Keras ({type(error).__name__}: {printable(error, 160)})"
        raise refuse(sample.path, what, "Save it again with model.save('model.keras').") from error


def _contents(found: _Found, version: Any) -> Contents:
    state = {name: torch.from_numpy(np.array(array, order="C")) for name, array in found.state.items()}
    notes = {"transposed": found.transposed, "reordered": found.reordered}
    versions = {"keras": printable(version)} if version else {}
    return Contents(state, versions, {key: value for key, value in notes.items() if value})


def _whole(sample: Sample, file: Any) -> Contents:
    """Read a file whose layers name their weights: model.save('.h5') and Keras 2's save_weights."""
    top = file.get("model_weights", file)
    if "layer_names" not in top.attrs:
        if "layers" in file:
            return _contents(_numbered(sample, file, {}), None)
        raise refuse(sample.path, "is an HDF5 file without Keras layers", "Name the file with the weights.")
    config = json.loads(_text(file.attrs["model_config"])) if "model_config" in file.attrs else {}
    layers = {layer["config"]["name"]: layer for layer in _layers(config)}
    order = [name for name in layers if name in top] + [_text(n) for n in top.attrs["layer_names"]]
    found = _Found()
    for name in dict.fromkeys(order):
        arrays: dict[str, dict[str, np.ndarray]] = {}
        for full in map(_text, top[name].attrs["weight_names"]):
            *path, variable = full.removesuffix(":0").split("/")
            path = path[path.index(name) + 1 :] if name in path else path
            kept = ".".join(part for part in path if part and not part.endswith("cell"))
            arrays.setdefault(kept, {})[variable] = _array(sample, top[name], full)
        for path, variables in arrays.items():
            about = layers.get(path.rpartition(".")[2], layers.get(name, {}))
            _add(sample, found, ".".join(filter(None, (name, path))), about, variables)
        if not arrays:
            _add(sample, found, name, layers.get(name, {}), {})
    return _contents(found, _text(top.attrs["keras_version"]) if "keras_version" in top.attrs else None)


def _numbered(sample: Sample, file: Any, config: Mapping[str, Any]) -> _Found:
    """Read Keras 3's layout: folders called after the layers' classes, variables by number."""
    found = _Found()
    counts: dict[str, int] = {}
    layers = file.get("layers", file)
    known = list(_layers(config, deep=False))
    if not known:
        known = [{"class_name": _camel(key), "config": {"name": key}, "folder": key} for key in layers]
    for layer in known:
        stem = _snake(layer["class_name"])
        count = counts[stem] = counts.get(stem, 0) + 1
        folder = layer.get("folder") or (stem if count == 1 else f"{stem}_{count - 1}")
        if folder not in layers:
            _add(sample, found, layer["config"]["name"], layer, {})
            continue
        group = layers[folder]
        if "layers" in group:
            raise refuse(sample.path, "is a model that holds models", "Save the inner model, or weights as .h5.")
        for path, kept in (("", "vars"), ("", "cell/vars"), ("forward", "forward_layer/cell/vars")):
            _add_numbered(sample, found, layer, group, path, kept)
        _add_numbered(sample, found, layer, group, "backward", "backward_layer/cell/vars")
        if not len(group.get("vars", ())):
            _add(sample, found, layer["config"]["name"], layer, {})
    return found


def _add_numbered(sample: Sample, found: _Found, layer: Mapping[str, Any], group: Any, path: str, kept: str) -> None:
    if kept not in group or not len(group[kept]):
        return
    settings = layer["config"]
    inner = settings.get("layer", {}) if path else layer
    names = [
        name
        for name in _VARIABLES.get(inner.get("class_name", ""), ("kernel", "bias"))
        if inner.get("config", settings).get(_ABSENT.get(name, ""), True) is not False
    ]
    stored = group[kept]
    arrays = [_array(sample, stored, str(i)) for i in range(len(stored))]
    if len(arrays) > len(names):  # a generator's seed, or a layer of a kind that is not known
        what = f"has a layer of class {printable(layer['class_name'])} with {len(arrays)} variables"
        raise refuse(sample.path, f"{what}, of which {len(names)} are known", "Save the model as .h5, by name.")
    variables = dict(zip(names, arrays, strict=False))
    _add(sample, found, ".".join(filter(None, (settings["name"], path))), layer, variables)


def _add(
    sample: Sample, found: _Found, name: str, about: Mapping[str, Any], variables: Mapping[str, np.ndarray]
) -> None:
    """Put a layer's variables into the state in torch's layout, and follow what the layer does to an image."""
    kind = about.get("class_name", "")
    if kind in ("Flatten", "Reshape"):
        found.flat = True
    elif kind.startswith("Global"):
        found.channels = None
    if "recurrent_kernel" in variables:
        _add_recurrent(sample, found, name, kind, about, variables)
        return
    for variable, array in variables.items():
        target = f"{name}.{layout.NAMES.get(variable, variable)}"
        if variable in ("kernel", "depthwise_kernel", "pointwise_kernel"):
            target = f"{name}.weight" if variable != "pointwise_kernel" else f"{name}.pointwise.weight"
            depthwise = variable == "depthwise_kernel" or kind.startswith("Depthwise")
            turned = layout.depthwise_kernel(array) if depthwise else layout.kernel(array)
            if array.ndim > 2:
                found.channels, found.flat = turned.shape[0], False
            elif found.channels and found.flat and not array.shape[0] % found.channels:
                turned = layout.after_flatten(turned, found.channels)
                found.reordered[target] = "inputs from (height, width, channel) to (channel, height, width)"
                found.channels = None
            array = turned
            found.transposed.append(target)
        found.state[target] = array


def _add_recurrent(
    sample: Sample, found: _Found, name: str, kind: str, about: Mapping[str, Any], variables: Mapping[str, np.ndarray]
) -> None:
    if kind == "Bidirectional":
        kind = about["config"].get("layer", {}).get("class_name", "")
    cell = layout.gru if kind == "GRU" else layout.lstm
    made = cell(variables["kernel"], variables["recurrent_kernel"], variables.get("bias"))
    if made is None:
        what = f"has a GRU of the older kind ({printable(name)}: reset_after=False)"
        raise refuse(sample.path, what, "torch has no such cell: train it with reset_after=True, Keras's default.")
    direction = re.search(r"\.(forward|backward)[^.]*", name)
    base = name[: direction.start()] if direction else name
    suffix = "_reverse" if direction and direction[1] == "backward" else ""
    for variable, array in made.items():
        found.state[f"{base}.{variable}{suffix}"] = array
        found.transposed += [f"{base}.{variable}{suffix}"] if variable.startswith("weight") else []


def _layers(config: Mapping[str, Any], deep: bool = True) -> Iterator[Mapping[str, Any]]:
    """Yield the layers of a model's configuration in order; with ``deep`` those of models in it too."""
    inner = config.get("config", {})
    for layer in inner.get("layers", ()) if isinstance(inner, dict) else inner:
        if isinstance(layer.get("config"), dict):
            layer["config"].setdefault("name", layer.get("name", ""))
            yield layer
            if deep:
                yield from _layers(layer)


def _array(sample: Sample, group: Any, name: str) -> np.ndarray:
    """Read a dataset that lies in this very file, after its size is checked."""
    node = group
    for part in name.split("/"):
        link = node.get(part, getlink=True)
        if type(link).__name__ != "HardLink":
            raise refuse(sample.path, f"refers elsewhere for {printable(name)}", "Only what lies in the file is read.")
        node = node[part]
    if node.external or node.is_virtual:
        raise refuse(sample.path, f"keeps {printable(name)} in other files", "Only what lies in the file is read.")
    check_size(sample.path, node.nbytes, node.id.get_storage_size(), name)
    array = node[()]
    if not isinstance(array, (np.ndarray, np.generic)) or array.dtype.kind not in "fiubc":
        raise refuse(sample.path, f"holds {printable(name)}, which is no array of numbers", "Save the model again.")
    return np.asarray(array, array.dtype.newbyteorder("="))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _snake(name: str) -> str:
    """Write a class name as Keras 3 names its folder: ``Conv2D`` as ``conv2d``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _camel(folder: str) -> str:
    """Guess the class of a folder without configuration; only those with other variables matter."""
    stem = re.sub(r"_\d+$", "", folder)
    return next((name for name in (*_VARIABLES, "Flatten", "Bidirectional") if _snake(name) == stem), stem)


KERAS_H5 = Format("Keras HDF5", "keras", (".h5", ".hdf5"), _is_h5, _read_h5)
KERAS_ARCHIVE = Format("Keras archive", "keras", (".keras",), _is_archive, _read_archive)
