"""Networks that other libraries build by name, and by the settings beside the weights; nothing is downloaded."""

from __future__ import annotations

import pytest
import torch
from torchvision_models import import_models

from lmc._errors import ArchitectureError, MissingPackageError
from lmc.architectures import resolve
from lmc.architectures.libraries import build_transformer


def test_torchvision_by_name():
    torchvision = import_models()
    found = resolve("torchvision:resnet18?num_classes=10", input_shape=(3, 32, 32), num_classes=10)
    assert found.reference == "torchvision:resnet18?num_classes=10"
    assert found.module.state_dict().keys() == torchvision.resnet18().state_dict().keys()
    assert found.module.fc.out_features == 10


def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingPackageError, match=r"timm:resnet18.*pip install 'lmc\[timm\]'"):
        resolve("timm:resnet18")


SETTINGS = {
    "model_type": "gpt2", "vocab_size": 40, "n_positions": 16, "n_embd": 32, "n_layer": 1, "n_head": 4,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def test_settings_name_a_class_of_transformers():
    import_models()
    found = build_transformer({**SETTINGS, "architectures": ["GPT2LMHeadModel"]})
    assert (found.input_kind, found.vocab, found.input_shape) == ("tokens", 40, (8,))
    assert found.module(*found.example_inputs()).shape == (2, 8, 40)


@pytest.mark.parametrize("name", ["MyModel", "AutoTokenizer", "os.system", "pipeline", 3])
def test_settings_name_nothing_else(name):
    import_models()
    with pytest.raises(ArchitectureError, match="never run"):
        build_transformer({**SETTINGS, "architectures": [name], "auto_map": {"AutoModel": "modeling.MyModel"}})


def test_settings_that_make_no_network_say_why():
    import_models()
    with pytest.raises(ArchitectureError, match=r"cannot be built from config\.json"):
        build_transformer({**SETTINGS, "n_head": 5, "architectures": ["GPT2LMHeadModel"]})


def test_two_inputs_are_asked_to_be_wrapped():
    import_models()
    settings = {
        "model_type": "t5",
        "vocab_size": 40,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 1,
        "num_heads": 4,
    }
    with pytest.raises(ArchitectureError, match="two inputs"):
        build_transformer({**settings, "architectures": ["T5ForConditionalGeneration"]})


def test_the_random_state_is_left_alone():
    import_models()
    before = torch.get_rng_state()
    resolve("torchvision:resnet18")
    assert torch.equal(torch.get_rng_state(), before)
