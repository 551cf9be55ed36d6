"""Published tables of latencies: their files, and what their columns say.

Where the files come from stands in `experiments/latency_thirdparty.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from latency_jax.csv_table import read_csv_table
from latency_jax.table import Table
from packd_jax.config import ConfigError


class Source(NamedTuple):
    """Where a table comes from; as `read_csv_table` takes it, in ms."""

    file: str
    kind: str
    columns: Mapping[str, str]
    target: tuple[str, ...]
    where: Mapping[str, str] = {}
    values: Mapping[str, Mapping[str, str]] = {}

    def read(self, directory: Path) -> Table:
        if not (directory / self.file).is_file():
            raise ConfigError(
                f"--data={directory}: holds no {self.file}; see --help for its source"
            )
        return read_csv_table(
            directory / self.file,
            self.kind,
            self.columns,
            self.target,
            "ms",
            self.where,
            self.values,
        )


_ACTIVATION = {"0": "none", "1": "relu", "2": "tanh", "3": "sigmoid"}


def _neusight_conv(device: str) -> Source:
    columns = {
        "batch_size": "B",
        "input_size": "Input_Size",
        "in_channels": "Input_Channel",
        "out_channels": "Output_Channel",
        "kernel_size": "Kernel_Size",
        "stride": "Stride",
        "padding": "Padding",
    }
    return Source(
        "neusight_conv_train.csv",
        "conv2d",
        columns,
        ("latency_ms",),
        {"device": device},
        {"padding": {"1": "SAME"}},
    )


def _neusight_linear(device: str) -> Source:
    return Source(
        "neusight_linear_train.csv",
        "dense",
        {"batch_size": "M", "in_features": "K", "out_features": "N"},
        ("latency_ms",),
        {"device": device},
    )


def _transformer(device: str) -> Source:
    return Source(
        "hat_transformer_models.csv",
        "generic",
        {name: name for name in _HAT},
        ("latency_mean_encoder", "latency_mean_decoder"),
        {"task_device": device},
    )


_HAT = (
    *("encoder_embed_dim", "encoder_layer_num", "encoder_ffn_embed_dim_avg"),
    *("encoder_self_attention_heads_avg", "decoder_embed_dim", "decoder_layer_num"),
    *("decoder_ffn_embed_dim_avg", "decoder_self_attention_heads_avg"),
    *("decoder_ende_attention_heads_avg", "decoder_arbitrary_ende_attn_avg"),
)
SOURCES = {
    "conv_v100_tf1": Source(
        "cdecatapult_convolution_V100_forward.csv",
        "conv2d",
        {
            "batch_size": "batchsize",
            "input_size": "matsize",
            "in_channels": "channels_in",
            "out_channels": "channels_out",
            "kernel_size": "kernelsize",
            "stride": "strides",
            "padding": "padding",
            "activation": "activation_fct",
            "use_bias": "use_bias",
        },
        ("timeUsed_median",),
        values={"padding": {"1": "SAME", "0": "VALID"}, "activation": _ACTIVATION},
    ),
    "dense_v100_tf1": Source(
        "cdecatapult_dense_V100_forward.csv",
        "dense",
        {
            "batch_size": "batchsize",
            "in_features": "dim_input",
            "out_features": "dim_output",
            "activation": "activation_fct",
        },
        ("timeUsed_median",),
        values={"activation": _ACTIVATION},
    ),
    "conv_a100": _neusight_conv("NVIDIA A100 80GB PCIe"),
    "conv_v100": _neusight_conv("Tesla V100-PCIE-32GB"),
    "conv_t4": _neusight_conv("Tesla T4"),
    "linear_a100": _neusight_linear("NVIDIA A100-PCIE-40GB"),
    "transformer_xeon": _transformer("wmt14ende_cpu_xeon"),
}

_OLDER = ("Tesla P100-PCIE-16GB", "Tesla V100-PCIE-32GB", "Tesla T4")
# By table, the same modules on several devices; names are those of latency_jax.known_devices where
# a data sheet is known. Linear layers of the P4 were measured otherwise than the rest.
DEVICE_SOURCES: dict[str, dict[str, Source]] = {
    "conv": {name: _neusight_conv(name) for name in ("Tesla P4", *_OLDER, "NVIDIA A100 80GB PCIe")},
    "linear": {name: _neusight_linear(name) for name in (*_OLDER, "NVIDIA A100-PCIE-40GB")},
    "transformer": {
        name: _transformer(f"wmt14ende_{name}")
        for name in ("cpu_xeon", "cpu_raspberrypi", "gpu_titanxp")
    },
}
