"""Kinds of Flax modules: what can be drawn for each, how it is built, what it costs.

The built-in kinds register themselves here. A kind of your own needs its parameters, a linen
module with the shapes of its inputs, and its FLOPs and bytes:

>>> import flax.linen as nn
>>> from latency_jax.modules import Built, Cost, ModuleKind, item_bytes, register, shape
>>> from latency_jax.parameters import Parameter
>>> def make(v):  # Python values: a linen module, and what it is called with
...     module = nn.GroupNorm(v["groups"], dtype=v["dtype"], param_dtype=v["dtype"])
...     return Built(module, (shape(v, v["batch_size"], v["positions"], v["features"]),))
>>> def count(v):  # NumPy arrays: plain arithmetic counts for one configuration or a table
...     size, item = v["batch_size"] * v["positions"] * v["features"], item_bytes(v["dtype"])
...     return Cost(8 * size, size * item, 2 * v["features"] * item, size * item)
>>> positions = Parameter("positions", default=49, low=1, high=4096, scale="log")
>>> features = Parameter("features", default=64, low=1, high=1024, scale="sizes")
>>> groups = Parameter("groups", default=8, choices=(1, 4, 8, 32))
>>> group_norm = ModuleKind("group_norm", (positions, features, groups), make, count,
...                         constraint=lambda v: v["features"] % v["groups"] == 0)
>>> register(group_norm).cost({"features": 128})
Cost(flops=50176.0, input_bytes=25088.0, weight_bytes=1024.0, output_bytes=25088.0)

`sample_config("group_norm", rng)` then draws configurations, and a collection measures them.
Modules are called as `module.apply(variables, *inputs)`; variables may be any finite numbers,
running variances above zero, as the time of a call does not depend on them.
"""

from latency_jax.modules import (  # noqa: F401  each registers its kinds
    attention,
    composite,
    conv,
    dense,
    elementwise,
    mixer,
    norm,
    pool,
    recurrent,
)
from latency_jax.modules.counting import item_bytes
from latency_jax.modules.kind import Built, Cost, ModuleKind, shape
from latency_jax.modules.registry import (
    customized_parameters,
    get_kind,
    kinds,
    register,
    sample_config,
)

__all__ = [
    "Built",
    "Cost",
    "ModuleKind",
    "customized_parameters",
    "get_kind",
    "item_bytes",
    "kinds",
    "register",
    "sample_config",
    "shape",
]
