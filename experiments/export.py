"""Takes a student out of here: integers in one C header, and StableHLO.

python -m experiments.export --checkpoint=DIR --out=HEADER.h [--bits=8|4] [--name=PREFIX]
    [--vectors=FILE.c] [--npz=FILE] [--stablehlo=FILE] [--trace=FILE,...] [--verify]

Ranges, threshold and fine-tuning come from the study's training and validation rows: of
--trace, or of the files that the checkpoint names. Without them nothing is tuned, and ranges
are the worst case. --vectors is a C program that checks the header on the machine it is for,
--npz the integers for Python, --stablehlo the float network. --verify compiles the header,
compares it with the integer reference on each trace, times it, and judges both on test.
Takes about 10 seconds, and 20 more where rounding costs so much F1 that training goes on.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import run
from packd_jax.config import ConfigError
from packd_jax.export import c_header, export_stablehlo, vector_program, verification
from packd_jax.quantize import quantize_checkpoint, save_integer_student
from packd_jax.staged_file import staged, write_text

CHECKPOINT = flags.DEFINE_string("checkpoint", "", "directory of a student, as studies leave them")
OUT = flags.DEFINE_string("out", "", "the C header to write")
BITS = flags.DEFINE_enum("bits", "8", ["8", "4"], "of output weights; all else has 8")
NAME = flags.DEFINE_string("name", "", "prefix of the header's names; else its file name")
VECTORS = flags.DEFINE_string("vectors", "", "write a C program that checks the header")
NPZ = flags.DEFINE_string("npz", "", "write the integers for packd_jax.quantize")
STABLEHLO = flags.DEFINE_string("stablehlo", "", "write the float network, tokens to probabilities")
TRACE = flags.DEFINE_list("trace", [], "the study's trace files, if they are elsewhere now")
VERIFY = flags.DEFINE_bool("verify", False, "compile the header and compare it on each trace")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1 or not CHECKPOINT.value or not OUT.value:
        raise ConfigError("expected --checkpoint=DIR --out=HEADER.h, and flags only")
    for flag in (OUT, VECTORS, NPZ, STABLEHLO):
        path = Path(flag.value)
        if flag.value and (path.is_dir() or not path.parent.is_dir()):
            raise ConfigError(f"--{flag.name}={path}: expected a file in a folder that exists")
    name = NAME.value or re.sub(r"\W+", "_", Path(OUT.value).stem)
    quantized = quantize_checkpoint(CHECKPOINT.value, int(BITS.value), TRACE.value)
    integers, how = quantized.integers, quantized.how
    header = c_header(integers, name)
    stablehlo = export_stablehlo(quantized.floats) if STABLEHLO.value else b""
    write_text(OUT.value, header)
    if VECTORS.value:
        write_text(VECTORS.value, vector_program(integers, name, Path(OUT.value).name))
    if NPZ.value:
        save_integer_student(NPZ.value, integers, quantized.meta)
    if STABLEHLO.value:
        with staged(STABLEHLO.value) as temporary:
            temporary.write_bytes(stablehlo)
    print(f"{OUT.value}: {name}_access(), {integers.size_bytes:,} bytes of constants")
    print(", ".join(f"{part} {size:,}" for part, size in integers.parts_bytes.items()))
    if quantized.rows is None:
        print("the study's traces are not here (--trace=FILE): ranges are the worst case")
    else:
        tuned = f", {how.rounded_f1:.4f} before fine-tuning" if how.fine_tuned else ""
        print(f"validation F1 {how.f1:.4f} in integers{tuned}, {how.float_f1:.4f} in floats")
    if VERIFY.value:
        print(verification(quantized))


if __name__ == "__main__":
    run(main)
