"""The networks: everything here is linen, and nothing else in `packd_jax` imports linen."""

from packd_jax.models.build import (
    MEANT_MODELS,
    PAPER_MODELS,
    build_model,
    parameter_bytes,
    parameter_count,
)
from packd_jax.models.inputs import InputSpec

__all__ = [
    "MEANT_MODELS",
    "PAPER_MODELS",
    "InputSpec",
    "build_model",
    "parameter_bytes",
    "parameter_count",
]
