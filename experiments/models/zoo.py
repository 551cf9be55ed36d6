"""The whole models of a study, with their inputs for a batch of one."""

from __future__ import annotations

_IMAGE = ("1,224,224,3:float32",)
_TOKENS = ("1,10:uint8", "1,10:uint8", "1:uint8")
_SEGMENTS = ("1,10,10:uint8",)

# The names of factories as --model takes them, below experiments.models.
STUDIED: dict[str, tuple[str, ...]] = {
    "resnet:resnet18": _IMAGE,
    "mobilenet:mobilenet_v2": _IMAGE,
    "transformers:vit_tiny": _IMAGE,
    "transformers:gpt_mini": ("1,128:int32",),
    "mixer:mixer_s": _IMAGE,
    "lstm:lstm_medium": ("1,35:int32",),
    "unet:unet": ("1,128,128,3:float32",),
    "packd:lstm_student": _TOKENS,
    "packd:lstm_teacher": _TOKENS,
    "packd:mixer_student": _TOKENS,
    "packd:mixer_teacher": _TOKENS,
    "packd:transformer_teacher": _TOKENS,
    "packd:resnet_student": _SEGMENTS,
    "packd:resnet_teacher": _SEGMENTS,
}

# What the form of the whole-model correction was not chosen with: it is judged by these.
UNSEEN: dict[str, tuple[str, ...]] = {
    "convnets:vgg11": _IMAGE,
    "convnets:squeezenet": _IMAGE,
    "convnets:densenet121": _IMAGE,
    "transformers:bert_mini": ("1,128:int32",),
}

ZOO = {**STUDIED, **UNSEEN}
