"""Students for other programs: a C header from integers, StableHLO from floats."""

from packd_jax.export.c_header import c_header
from packd_jax.export.compiled import CompiledStudent, find_compiler
from packd_jax.export.stablehlo import export_stablehlo
from packd_jax.export.vectors import reference_logits, vector_program
from packd_jax.export.verify import verification, verify

__all__ = [
    "CompiledStudent",
    "c_header",
    "export_stablehlo",
    "find_compiler",
    "reference_logits",
    "vector_program",
    "verification",
    "verify",
]
