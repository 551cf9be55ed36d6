"""Configurations of `experiments/collect_latency.py`, chosen by `--config=FILE:NAME`.

default  python -m experiments.collect_latency --workdir=DIR --minutes=M
         All kinds, batch size and CPU utilisation as inputs: the paper's conditions.
quick    ... :quick     What experiments/latency.py measures, around the sizes that a model has.
fast     ... :fast      All kinds on an otherwise idle machine, as many as the time allows.
careful  ... :careful   The same with more windows for each, spread over minutes.
models   ... :models    Careful, of what whole models are made of: small batches, no dilation or
                        groups.
smoke    A few small modules, for the tests.

Anything that is drawn can be set on the command line: "off", "8", "1,3,5", "1:64", "1:64:log":
--config.conditions.dtype=float32,bfloat16  --config.customizations.conv2d.kernel_size=1,3
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from latency_jax.config import CollectConfig, ConditionsConfig
from latency_jax.modules import get_kind, kinds
from packd_jax.config import ConfigError

_PLAIN = {"dilation": "off", "padding": "SAME,VALID"}
_OF_MODELS = {  # kinds, and what differs from how they are drawn
    "conv2d": {**_PLAIN, "groups": "off"},
    "conv_bn_relu": {**_PLAIN, "groups": "off"},
    "depthwise_conv_bn_relu": {**_PLAIN, "channel_multiplier": "off"},
}
_AS_THEY_ARE = (
    *("conv_transpose2d", "dense", "embedding", "activation", "concat", "batch_norm"),
    *("layer_norm", "max_pool", "global_pool", "multi_head_attention", "lstm"),
)

CONFIGS = {
    "default": CollectConfig(conditions=ConditionsConfig(cpu_utilization="0,0.25,0.5,0.75,1")),
    "quick": CollectConfig(minutes=2.5, configurations=200),
    "fast": CollectConfig(configurations=1000),
    "careful": CollectConfig(mode="careful", minutes=30.0, configurations=1000),
    "models": CollectConfig(
        mode="careful",
        minutes=60.0,
        configurations=1000,
        kinds=(*_OF_MODELS, *_AS_THEY_ARE),
        conditions=ConditionsConfig(batch_size="1,1,1,2,4,8"),
        customizations=_OF_MODELS,
        size_limit=4.0,
    ),
    "smoke": CollectConfig(
        kinds=("dense", "activation"),
        conditions=ConditionsConfig(batch_size="1:8"),
        configurations=12,
        minutes=0.2,
        size_limit=0.01,
    ),
}


def get_config(name: str = "default") -> ConfigDict:
    """The named configuration, with every parameter of every kind to be set."""
    if name not in CONFIGS:
        raise ConfigError(f"no configuration {name!r}: expected one of {', '.join(CONFIGS)}")
    values = dataclasses.asdict(CONFIGS[name])
    values["customizations"] = {
        kind: {p.name: "on" for p in get_kind(kind).parameters}
        | dict(CONFIGS[name].customizations.get(kind, {}))
        for kind in kinds()
    }
    return ConfigDict(values)


def drawn(config: ConfigDict) -> dict[str, Any]:
    """The values without what says nothing: parameters of kinds that are as the kind has them."""
    values = config.to_dict()
    customizations = {
        kind: {n: spec for n, spec in specs.items() if spec != "on" or n in values["conditions"]}
        for kind, specs in values["customizations"].items()
    }
    return {**values, "customizations": {k: specs for k, specs in customizations.items() if specs}}
