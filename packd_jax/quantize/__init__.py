"""From a trained student to one of integers: calibrated, fine-tuned if it must be, exact."""

from packd_jax.quantize.checkpoint import QuantizedCheckpoint, load_student, quantize_checkpoint
from packd_jax.quantize.integer_student import IntegerStudent, Layer, TokenTable
from packd_jax.quantize.storage import load_integer_student, save_integer_student
from packd_jax.quantize.student import (
    FloatStudent,
    Quantization,
    float_f1,
    integer_f1,
    quantize_student,
)

__all__ = [
    "FloatStudent",
    "IntegerStudent",
    "Layer",
    "Quantization",
    "QuantizedCheckpoint",
    "TokenTable",
    "float_f1",
    "integer_f1",
    "load_integer_student",
    "load_student",
    "quantize_checkpoint",
    "quantize_student",
    "save_integer_student",
]
