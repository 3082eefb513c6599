"""ONNX models: the initialisers of the graph, in torch's layout; the graph itself is not run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmc._optional import require
from lmc.checkpoints.format import Contents, Format, Sample, printable, refuse

_IR_VERSIONS = range(1, 33)
_NEXT_FIELDS = frozenset(b"\x12\x1a\x22\x28\x32\x3a\x42")  # producer, domain, model version, graph, opset


def _recognises(sample: Sample) -> bool:
    # A protobuf message whose first field is the small version of the intermediate representation.
    head = sample.head
    return len(head) > 2 and head[0] == 8 and head[1] in _IR_VERSIONS and head[2] in _NEXT_FIELDS


def _read(sample: Sample) -> Contents:
    onnx = require("onnx", purpose="reading ONNX models", extra="onnx")
    try:
        model = onnx.load(sample.path)  # weights in files beside it too; the library keeps to its folder
        arrays = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    except Exception as error:  # protobuf's errors, and the library's own
        what = f"is a damaged ONNX model ({printable(error, 160)})"
        raise refuse(sample.path, what, "Copy it again, with the weights that lie beside it.") from error
    turned = _transposed(model.graph) & {name for name, array in arrays.items() if array.ndim == 2}
    state = {name: _tensor(array.T if name in turned else array) for name, array in arrays.items()}
    versions = {model.producer_name or "onnx": model.producer_version or str(model.ir_version)}
    return Contents(state, versions, {"transposed": sorted(turned)} if turned else {})


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, order="C"))


def _transposed(graph: Any) -> set[str]:
    """Name the matrices that stand as (inputs, outputs): what torch's Linear keeps the other way round."""
    found = set()
    for node in graph.node:
        plain = node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute)
        if plain or node.op_type == "MatMul":
            found.add(node.input[1])
    return found


ONNX = Format("ONNX", "onnx", (".onnx",), _recognises, _read)
