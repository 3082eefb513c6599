"""Aligned weights open again with the strict loader of the framework that wrote them, and compute what B computes."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision_models import import_models

from lmc.cli import main

SIZES = {"vocab_size": 40, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1}


def gpt2(seed):
    """A GPT-2 with tied embeddings; its biases are drawn, else nothing but matrices would tell units apart."""
    import_models()  # transformers imports torchvision where it finds it
    import transformers

    torch.manual_seed(seed)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES, eos_token_id=2)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.normal_(0, 0.1)
    return model


@pytest.fixture(scope="module")
def models():
    return gpt2(0), gpt2(1)


def as_folder(model, path, dtype, shard):
    model.to(dtype).save_pretrained(path, max_shard_size=shard)
    (path / "tokenizer.json").write_text("{}")
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_sharded_tied_folder_opens_with_from_pretrained(tmp_path, models, dtype):
    import transformers

    a, b = (as_folder(gpt2(i), tmp_path / f"{i}", dtype, "50KB") for i in (0, 1))
    assert (b / "model.safetensors.index.json").exists(), "the input is sharded"
    main(["align", str(a), str(b), "-o", str(tmp_path / "out")])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    again, report = transformers.GPT2LMHeadModel.from_pretrained(
        tmp_path / "out", dtype="auto", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert again.dtype == dtype
    assert again.lm_head.weight is again.transformer.wte.weight, "still tied"
    original = transformers.GPT2LMHeadModel.from_pretrained(b, dtype="auto")
    tokens = torch.arange(16).reshape(2, 8)
    wanted, got = (model.eval().float()(tokens).logits for model in (original, again))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    moved, before = again.transformer.h[0].mlp.c_fc.bias, original.transformer.h[0].mlp.c_fc.bias
    assert not torch.equal(moved, before), "otherwise nothing was aligned"
    assert sorted(moved.tolist()) == sorted(before.tolist())


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "_orig_mod."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_torch_shards_open_with_a_strict_load_state_dict(tmp_path, dtype, compiled):
    def network(seed):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(dtype)
        return torch.compile(module, backend="eager") if compiled else module

    for i in (0, 1):
        (folder := tmp_path / f"{i}").mkdir()
        state = network(i).state_dict()
        assert all(name.startswith("_orig_mod.") == compiled for name in state)
        files = {name: f"shard-{len(name) % 2}.bin" for name in state}
        for file in set(files.values()):
            torch.save({name: state[name] for name in state if files[name] == file}, folder / file)
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": files}))
    main(["align", str(tmp_path / "0"), str(tmp_path / "1"), "-o", str(tmp_path / "out.safetensors")])
    aligned, original = network(2), network(1)
    aligned.load_state_dict(safetensors.torch.load_file(tmp_path / "out.safetensors"), strict=True)
    x = torch.randn(5, 8)
    plain = [getattr(module, "_orig_mod", module).float() for module in (aligned, original)]
    torch.testing.assert_close(plain[0](x), plain[1](x), rtol=1e-5, atol=1e-6)
    assert not torch.equal(plain[0][0].weight, plain[1][0].weight)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys, models):
    a, b = (as_folder(gpt2(i), tmp_path / f"{i}", torch.float32, "1GB") for i in (0, 1))
    with pytest.raises(SystemExit) as ended:
        main(["align", str(a), str(b), "-o", str(b)])
    assert ended.value.code == 2
    assert "is no empty folder" in capsys.readouterr().err
    assert (b / "model.safetensors").exists()


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")  # of torch, when such a graph is copied
def test_an_exported_graph_is_the_network_where_it_is_trusted(tmp_path, capsys):
    """Two towers added up: no registered network, so that nothing but the graph can tell."""

    class Towers(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Sequential(nn.Linear(64, 12), nn.GELU(), nn.Linear(12, 10)) for _ in range(2))

        def forward(self, x):
            return self.a(x.flatten(1)) + self.b(x.flatten(1))

    files = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        batch = {0: torch.export.Dim("batch")}
        program = torch.export.export(Towers().eval(), (torch.ones(4, 1, 8, 8),), dynamic_shapes=(batch,))
        files.append(str(tmp_path / f"{seed}.pt2"))
        torch.export.save(program, files[-1])
    command = [
        "barrier",
        *files,
        "--data",
        "digits?limit=50",
        "--points",
        "3",
        "-o",
        str(tmp_path / "out.nc"),
        "--json",
    ]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 3
    assert "use the graph in the file, if you trust it (--trust-pickle" in capsys.readouterr().err
    main([*command, "--trust-pickle", files[0]])
    told = capsys.readouterr()
    assert "exported graph (the graph in the file" in told.err
    assert "2 groups, 24 units, verified" in told.err
    assert len(json.loads(told.out)["alignments"]) == 2
