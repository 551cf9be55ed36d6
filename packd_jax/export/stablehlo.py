"""The float student as StableHLO: tokens to probabilities, for any number of windows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, export

from packd_jax.config import ConfigError
from packd_jax.models import build_model
from packd_jax.quantize.student import FloatStudent

PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(student: FloatStudent) -> bytes:
    """A serialised `jax.export.Exported` of `tokens [B, ...] -> probabilities f32[B, D]`.

    Weights are constants in it. `jax.export.deserialize(data).call(tokens)` runs it, without
    this project; `.mlir_module()` is its text. Raises ConfigError without flatbuffers.
    """
    model = build_model(student.model, student.inputs)

    def one(tokens: dict[str, Array]) -> Array:
        batch = {name: values[None] for name, values in tokens.items()}
        return jax.nn.sigmoid(model.apply({"params": student.params}, batch, train=False)[0])

    (rows,) = export.symbolic_shape("rows")
    shapes = {
        name: jax.ShapeDtypeStruct((rows, *shape[1:]), jnp.uint8)
        for name, shape in student.inputs.shapes(1).items()
    }
    exported = export.export(jax.jit(jax.vmap(one)), platforms=PLATFORMS)(shapes)
    try:
        return bytes(exported.serialize())
    except ImportError:
        raise ConfigError(
            "StableHLO files need the package flatbuffers: pip install flatbuffers"
        ) from None
