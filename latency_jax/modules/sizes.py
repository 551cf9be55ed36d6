"""Parameters that several kinds share; those that matter to one kind only are in its file."""

from __future__ import annotations

from latency_jax.modules.activations import ACTIVATIONS
from latency_jax.parameters import Parameter

# Tokens of a sequence or pixels of a feature map: what a layer along the last axis runs over.
POSITIONS = Parameter("positions", default=1, low=1, high=65536, scale="log")
TOKENS = Parameter("tokens", default=64, low=1, high=4096, scale="sizes")
FEATURES = Parameter("features", default=64, low=1, high=8192, scale="sizes")
HEADS = Parameter("heads", default=4, low=1, high=64, choices=(1, 2, 3, 4, 6, 8, 12, 16))

INPUT_SIZE = Parameter("input_size", default=32, low=1, high=512, scale="sizes")  # height, width
IN_CHANNELS = Parameter("in_channels", default=64, low=1, high=4096, scale="sizes")
OUT_CHANNELS = Parameter("out_channels", default=64, low=1, high=4096, scale="sizes")
KERNEL_SIZE = Parameter(
    "kernel_size", default=3, low=1, high=32, choices=(1, 1, 1, 3, 3, 3, 2, 4, 5, 7)
)
STRIDE = Parameter("stride", default=1, low=1, high=32, choices=(1, 1, 1, 2, 2, 3, 4))
PADDING = Parameter("padding", default="SAME", choices=("SAME", "SAME", "VALID"))

ACTIVATION = Parameter(  # layers without one are common: a normalisation follows
    "activation", default="none", choices=("none", "none", *ACTIVATIONS)
)
USE_BIAS = Parameter("use_bias", default=True, choices=(True, False))
