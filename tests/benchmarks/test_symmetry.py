"""Finding symmetries: torchvision's networks, and Llamas of 7 and 70 billion parameters without their weights."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_RUN = """
import json, resource, sys, time
sys.path.insert(0, "tests/zoo")
import torch, torchvision_models as zoo
zoo.import_models()
name = sys.argv[1]
if name.startswith("llama"):
    from transformers import LlamaConfig, LlamaForCausalLM
    large = dict(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
                 num_key_value_heads=8)
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**(large if name == "llama-70b" else {}))).eval()
    inputs, kwargs = (torch.zeros(1, 8, dtype=torch.long),), {"use_cache": False}
else:
    model, inputs, kwargs = zoo.build(name), (torch.zeros(1, 3, 224, 224),), {}
from lmc.symmetry import find_symmetries
start = time.perf_counter()
spec = find_symmetries(model, inputs, kwargs)
print(json.dumps({
    "parameters": sum(p.numel() for p in model.parameters()), "spec": repr(spec),
    "seconds": time.perf_counter() - start,
    "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
}))
"""


@pytest.mark.parametrize("name", ["resnet50", "swin_t", "llama-7b", "llama-70b"])
def test_find(name):
    """A process each, for its peak memory: imports included, which are most of it."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _RUN, name], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    print(
        f"\n{name}: {told['parameters'] / 1e6:,.0f} million parameters, {told['seconds']:.2f} s, "
        f"{told['gigabytes']:.2f} GiB at most, {told['spec']}"
    )
