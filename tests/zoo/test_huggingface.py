"""Every family of Hugging Face transformers: its symmetries are found, proved, and the ones hand reasoning gives."""

from __future__ import annotations

import collections

import pytest

pytest.importorskip("transformers", reason="transformers is not installed: make zoo")

from huggingface import FAMILIES

from lmc.symmetry import find_symmetries, verify


@pytest.mark.parametrize("name", FAMILIES)
def test_family_verifies_and_nearly_all_of_it_moves(name):
    family = FAMILIES[name]
    model, inputs = family.build()
    spec = find_symmetries(model, (), inputs)
    verdict = verify(spec, model, (), inputs)
    assert verdict.ok, verdict.message
    assert verdict.error < 1e-10
    assert spec.coverage >= 0.9 or family.why, f"{spec.coverage:.3f} of the parameters move, and nobody says why"


def _structure(name):
    model, inputs = FAMILIES[name].build()
    spec = find_symmetries(model, (), inputs)
    return spec, collections.Counter((group.kind, group.blocks, group.size) for group in spec.groups)


STREAM, HEADS, INSIDE = "residual stream", "heads", "inside head"


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        # Per block: heads, Q with K inside each, V with O inside each, hidden units.
        ("BERT", {(STREAM, 1, 32): 1, (HEADS, 1, 4): 2, (INSIDE, 4, 8): 4, ("units", 1, 48): 2}),
        ("GPT-2", {(STREAM, 1, 32): 1, (HEADS, 1, 4): 2, (INSIDE, 4, 8): 4, ("units", 1, 128): 2}),
        ("ViT", {(STREAM, 1, 32): 1, (HEADS, 1, 4): 2, (INSIDE, 4, 8): 4, ("units", 1, 48): 2}),
        # The encoder's last hidden state is an output and the decoder shares its embedding: no stream. Each stack has
        # one table of relative positions, so the heads of its layers are one group; cross-attention has none.
        ("T5", {(HEADS, 1, 4): 4, (INSIDE, 4, 8): 12, ("units", 1, 48): 4}),
        # Key/value heads, query heads inside each, V with O inside each key/value head; Q and K are rotated.
        (
            "Llama",
            {
                (STREAM, 1, 64): 1,
                (HEADS, 1, 4): 2,
                ("heads inside heads", 4, 2): 2,
                (INSIDE, 4, 8): 2,
                ("units", 1, 48): 2,
            },
        ),
    ],
)
def test_structure_by_hand(name, groups):
    assert _structure(name)[1] == groups


def test_t5_shares_its_relative_positions_among_layers():
    spec, _ = _structure("T5")
    table = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    heads = next(group for group in spec.groups if any(axis.param == table for axis in group.axes))
    assert {axis.param for axis in heads.axes} >= {f"encoder.block.{n}.layer.0.SelfAttention.q.weight" for n in (0, 1)}


def test_llama_says_that_rotary_positions_freeze_queries_and_keys():
    spec, _ = _structure("Llama")
    for name in ("q_proj", "k_proj"):
        assert "rotary" in spec.frozen[f"model.layers.0.self_attn.{name}.weight", 0]
    assert ("model.layers.0.self_attn.v_proj.weight", 0) not in spec.frozen


def test_gpt2_moves_its_tied_embedding_with_the_stream():
    spec, _ = _structure("GPT-2")
    stream = next(group for group in spec.groups if group.kind == STREAM)
    assert {str(axis) for axis in stream.axes} >= {"transformer.wte.weight[1]", "transformer.wpe.weight[1]"}
    assert spec.aliases["lm_head.weight"] == "transformer.wte.weight"


@pytest.mark.parametrize("name", ["BERT", "Llama", "T5", "Swin V2", "Mamba"])
def test_every_axis_broken_alone_shows(name):
    model, inputs = FAMILIES[name].build()
    spec = find_symmetries(model, (), inputs)
    verdict = verify(spec, model, (), inputs, breaks=None)
    assert verdict.ok, verdict.message
    assert verdict.control > 1e-6
    # Adding to every key what is the same for all of them shifts a row of scores: softmax does not see it.
    assert all(name.endswith("key.bias[0]") for name in verdict.inert)
