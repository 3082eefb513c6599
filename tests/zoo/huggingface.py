"""Families of Hugging Face transformers, built small from their configs: no downloads, random weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torchvision_models import import_models


@dataclass(frozen=True)
class Family:
    """How to build one family.

    Parameters
    ----------
    config, model : str
        Class names in transformers.
    settings : dict
        Of the config.
    inputs : callable
        Makes the keyword inputs from the config.
    why : str
        Why less than 90% of the parameters move, where that is so.
    """

    config: str
    model: str
    settings: dict[str, Any]
    inputs: Callable[[Any], dict[str, Any]]
    why: str = ""

    def build(self):
        """Return the model in eval mode and its keyword inputs."""
        if importlib.util.find_spec("torchvision"):
            import_models()  # transformers imports torchvision where it finds it
        import transformers

        config = getattr(transformers, self.config)(**self.settings)
        torch.manual_seed(0)
        model = getattr(transformers, self.model)(config).eval()
        return model, self.inputs(config)


def tokens(config):
    """Ten tokens in two rows."""
    return {"input_ids": torch.arange(10).reshape(2, 5) + 3}


def causal(config):
    """Tokens without a cache of keys and values."""
    return {**tokens(config), "use_cache": False}


def both(config):
    """Tokens for the encoder and the decoder."""
    return {**causal(config), "decoder_input_ids": torch.arange(8).reshape(2, 4) + 3}


def image(config):
    """One image of the config's size, or 32 where it leaves that open."""
    size = getattr(config, "image_size", 32)
    return {"pixel_values": torch.zeros(1, 3, size, size)}


def image_and_text(config):
    """For CLIP."""
    return {**tokens(config), "pixel_values": torch.zeros(2, 3, 16, 16)}


def spectrogram(config):
    """For Whisper: mel bands by frames, and the decoder's tokens."""
    return {
        "input_features": torch.zeros(1, config.num_mel_bins, 2 * config.max_source_positions),
        "decoder_input_ids": torch.tensor([[3, 4, 5]]),
        "use_cache": False,
    }


def wave(config):
    """For Wav2Vec2: a thousand samples."""
    return {"input_values": torch.zeros(1, 1000)}


_BERT = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 16,
}  # fmt: skip
_GPT2 = {"vocab_size": 40, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4}
_LLAMA = {**_BERT, "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 64, "tie_word_embeddings": False}
_SEQ2SEQ = {
    "vocab_size": 40, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 16,
}  # fmt: skip
_T5 = {"vocab_size": 40, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_VIT = {**_BERT, "image_size": 16, "patch_size": 8}
_SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
_CLIP = {
    "text_config": {**_BERT, "max_position_embeddings": 8},
    "vision_config": {**_BERT, "image_size": 16, "patch_size": 8},
    "projection_dim": 24,
}

FAMILIES: dict[str, Family] = {
    "BERT": Family("BertConfig", "BertForMaskedLM", _BERT, tokens),
    "RoBERTa": Family("RobertaConfig", "RobertaForMaskedLM", {**_BERT, "pad_token_id": 1}, tokens),
    "DistilBERT": Family(
        "DistilBertConfig", "DistilBertForMaskedLM",
        {"vocab_size": 40, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 16},
        tokens,
    ),
    "ALBERT": Family("AlbertConfig", "AlbertForMaskedLM", {**_BERT, "embedding_size": 16}, tokens),
    "ELECTRA": Family("ElectraConfig", "ElectraForPreTraining", {**_BERT, "embedding_size": 16}, tokens),
    "DeBERTa": Family(
        "DebertaConfig", "DebertaForMaskedLM",
        {**_BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "legacy": False}, tokens,
    ),
    "DeBERTa-v2": Family(
        "DebertaV2Config", "DebertaV2ForMaskedLM",
        {**_BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "legacy": False}, tokens,
    ),
    "MPNet": Family("MPNetConfig", "MPNetForMaskedLM", _BERT, tokens),
    "GPT-2": Family("GPT2Config", "GPT2LMHeadModel", _GPT2, causal),
    "GPT-Neo": Family(
        "GPTNeoConfig", "GPTNeoForCausalLM",
        {"vocab_size": 40, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 16,
         "attention_types": [[["global", "local"], 1]]}, causal,
    ),
    "GPT-J": Family("GPTJConfig", "GPTJForCausalLM", {**_GPT2, "rotary_dim": 4}, causal),
    "GPT-NeoX": Family("GPTNeoXConfig", "GPTNeoXForCausalLM", _BERT, causal),
    "GPT-BigCode": Family("GPTBigCodeConfig", "GPTBigCodeForCausalLM", _GPT2, causal),
    "OPT": Family(
        "OPTConfig", "OPTForCausalLM",
        {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48,
         "max_position_embeddings": 16, "word_embed_proj_dim": 32}, causal,
    ),
    "BLOOM": Family(
        "BloomConfig", "BloomForCausalLM", {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 4}, causal
    ),
    "Llama": Family("LlamaConfig", "LlamaForCausalLM", _LLAMA, causal),
    "Mistral": Family("MistralConfig", "MistralForCausalLM", _LLAMA, causal),
    "Qwen2": Family("Qwen2Config", "Qwen2ForCausalLM", _LLAMA, causal),
    "Qwen3": Family("Qwen3Config", "Qwen3ForCausalLM", {**_LLAMA, "head_dim": 8}, causal),
    "Gemma": Family("GemmaConfig", "GemmaForCausalLM", {**_LLAMA, "head_dim": 8}, causal),
    "Phi": Family("PhiConfig", "PhiForCausalLM", _BERT, causal),
    "Phi-3": Family("Phi3Config", "Phi3ForCausalLM", {**_LLAMA, "pad_token_id": 0}, causal),
    "Falcon": Family(
        "FalconConfig", "FalconForCausalLM",
        {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}, causal,
    ),
    "MPT": Family("MptConfig", "MptForCausalLM", {"vocab_size": 40, "d_model": 32, "n_heads": 4, "n_layers": 2,
                                                  "max_seq_len": 16}, causal),
    "StableLM": Family("StableLmConfig", "StableLmForCausalLM", _LLAMA, causal),
    "OLMo": Family("OlmoConfig", "OlmoForCausalLM", _LLAMA, causal),
    "T5": Family("T5Config", "T5ForConditionalGeneration", _T5, both),
    "mT5": Family("MT5Config", "MT5ForConditionalGeneration", {**_T5, "feed_forward_proj": "gated-gelu"}, both),
    "BART": Family("BartConfig", "BartForConditionalGeneration", _SEQ2SEQ, both),
    "Pegasus": Family("PegasusConfig", "PegasusForConditionalGeneration", _SEQ2SEQ, both),
    "Whisper": Family(
        "WhisperConfig", "WhisperForConditionalGeneration",
        {**{k: v for k, v in _SEQ2SEQ.items() if k != "max_position_embeddings"}, "num_mel_bins": 8,
         "max_source_positions": 10, "max_target_positions": 8, "pad_token_id": 0, "bos_token_id": 1,
         "eos_token_id": 2, "decoder_start_token_id": 1}, spectrogram,
    ),
    "Wav2Vec2": Family(
        "Wav2Vec2Config", "Wav2Vec2Model",
        {**_BERT, "conv_dim": [16, 16], "conv_stride": [5, 4], "conv_kernel": [10, 8], "num_conv_pos_embeddings": 8,
         "num_conv_pos_embedding_groups": 4}, wave,
        why="the hidden states are the output, so the residual stream stays",
    ),
    "ViT": Family("ViTConfig", "ViTForImageClassification", _VIT, image),
    "DeiT": Family("DeiTConfig", "DeiTForImageClassification", _VIT, image),
    "BEiT": Family("BeitConfig", "BeitForImageClassification", _VIT, image),
    "DINOv2": Family("Dinov2Config", "Dinov2ForImageClassification", {**_VIT, "mlp_ratio": 2}, image),
    "Swin": Family("SwinConfig", "SwinForImageClassification", _SWIN, image),
    "Swin V2": Family("Swinv2Config", "Swinv2ForImageClassification", _SWIN, image),
    "ConvNeXt": Family(
        "ConvNextConfig", "ConvNextForImageClassification",
        {"image_size": 32, "hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2}, image,
    ),
    "SegFormer": Family(
        "SegformerConfig", "SegformerForImageClassification",
        {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "patch_sizes": [3, 3],
         "strides": [2, 2], "num_attention_heads": [2, 4], "mlp_ratios": [2, 2]}, image,
    ),
    "ResNet": Family(
        "ResNetConfig", "ResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [1, 2]}, image,
    ),
    "CLIP": Family(
        "CLIPConfig", "CLIPModel", _CLIP, image_and_text,
        why="the hidden states of both towers are outputs, so their residual streams stay",
    ),
    "Mamba": Family(
        "MambaConfig", "MambaForCausalLM",
        {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, causal,
    ),
    "Mixtral": Family("MixtralConfig", "MixtralForCausalLM", {
        **_LLAMA, "num_local_experts": 4, "experts_implementation": "batched_mm"}, causal),
    "XLNet": Family("XLNetConfig", "XLNetLMHeadModel", {"vocab_size": 40, "d_model": 32, "n_layer": 2, "n_head": 4,
                                                        "d_inner": 48, "use_mems_eval": False}, tokens),
}  # fmt: skip
