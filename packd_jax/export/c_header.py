"""One C11 header from a quantised student: constants, state, and a function for each access."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

import numpy as np

from packd_jax.config import ConfigError
from packd_jax.export import c_templates as c
from packd_jax.quantize.integer_student import (
    IntegerStudent,
    packed_kernel,
    pc_offsets,
)

VECTOR = 16  # bytes that every processor with vectors takes at once


def c_header(student: IntegerStudent, name: str) -> str:
    """The text of a header in which every identifier starts with `name`.

    Raises ConfigError for a name that is no C identifier, and for a student whose inputs a
    header cannot make out of accesses: another encoding than tokens, or the cluster id.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ConfigError(f"name {name!r}: expected a C identifier, like bfs_student")
    tables = [table.name for table in student.tables]
    if student.features.encoding != "tokens" or set(tables) != {"delta", "pc", "offset"}:
        raise ConfigError(
            f"the student reads {', '.join(tables)} ({student.features.encoding}): headers make"
            " delta, pc and offset (tokens) out of accesses; export a student of these"
        )
    names = {"p": name, "P": name.upper()}
    return "".join(
        [
            c.HEAD.substitute(names, **_summary(student)),
            *(_array(names, f"table_{t.name}", t.values) for t in student.tables),
            _tokenizer(student, names),
            *(_layer(student, number, names) for number in range(len(student.layers))),
            _tail(student, names),
        ]
    )


def _summary(student: IntegerStudent) -> dict[str, object]:
    widths = [student.layers[0].kernel.shape[0], *(len(layer.bias) for layer in student.layers)]
    return {
        "digest": student.digest,
        "layers": f"{' -> '.join(map(str, widths))}, {student.weight_bits}-bit output weights",
        "size": f"{student.size_bytes:,}",
        "parts": ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in student.parts_bytes.items()),
        "bits": student.label_bits,
        "bound": student.features.delta_bound,
        "look_back": student.features.look_back,
        "threshold": student.threshold,
        "logit_scale": repr(student.logit_scale),
    }


def _tokenizer(student: IntegerStudent, names: dict[str, str]) -> str:
    features = student.features
    base, offsets = pc_offsets(student.pc_vocabulary)
    pc_table, find = "", c.FIND_NO_PC
    if len(offsets):
        table = _array(names, "pc", offsets).strip("\n")
        pc_table = c.PC_TABLE.substitute(names, base=f"{int(base):#x}", table=table)
        find = c.FIND_PC.substitute(names, count=len(offsets))
    last = f"{names['P']}_LOOK_BACK - 1"
    token = f"{names['p']}_delta_token(block - state->block["
    if features.delta_from == "current":
        before, shift = "", ""
        after = f"  for (int i = 0; i <= {last}; i++)\n    state->delta[i] = {token}i]);"
    else:
        before = f"\n  const uint8_t delta = {token}{last}]);"
        shift = "\n    state->delta[i] = state->delta[i + 1];"
        after = f"  state->delta[{last}] = delta;"
    return c.STATE.substitute(
        names,
        tokens="\n".join(f"  uint8_t {t.name}[{t.steps}];" for t in student.tables),
        zero=", ".join(["{0}"] * (1 + len(student.tables)) + ["0"]),
        exact=features.delta_exact,
        octaves=features.delta_log_buckets,
        vocabulary=features.pc_vocabulary,
        buckets=features.pc_hash_buckets,
        pc_table=pc_table,
        find_pc=find,
        delta_before=before,
        shift_delta=shift,
        delta_after=after,
    )


def _layer(student: IntegerStudent, number: int, names: dict[str, str]) -> str:
    layer, hidden = student.layers[number], number < len(student.layers) - 1
    inputs, outputs = layer.kernel.shape
    if hidden:
        kernel = np.zeros((outputs, _padded(inputs)), np.int8)
        kernel[:, :inputs] = layer.kernel.T
    else:
        kernel = packed_kernel(layer.kernel, student.weight_bits)
    constants = [
        _array(names, f"kernel_{number}", kernel),
        _array(names, f"bias_{number}", layer.bias),
    ]
    if hidden:
        constants.append(_array(names, f"multiplier_{number}", layer.multiplier))
    rows = kernel.shape[1]
    template = c.HIDDEN if hidden else c.OUTPUT_8 if student.weight_bits == 8 else c.OUTPUT_4
    return template.substitute(
        names,
        number=number,
        inputs=inputs,
        outputs=outputs,
        padded=_padded(inputs),
        rows=rows,
        block=VECTOR if rows % VECTOR == 0 else rows,
        constants="".join(constants).strip("\n"),
        input_type="int8_t" if number == 0 else "uint8_t",
        factor=f" * {layer.bias_factor}" if layer.bias_factor != 1 else "",
        half=layer.shift - 1,
        shift=layer.shift,
    )


def _padded(count: int) -> int:
    return -(-count // VECTOR) * VECTOR


def _tail(student: IntegerStudent, names: dict[str, str]) -> str:
    gather, start = [], 0
    for table in student.tables:
        width = table.values.shape[1]
        gather.append(
            c.GATHER.substitute(names, name=table.name, steps=table.steps, width=width, start=start)
        )
        start += table.steps * width
    hidden = student.layers[:-1]
    units = [
        f"  {names['P']}_ALIGNED uint8_t unit_{number}[{_padded(len(layer.bias))}] = {{0}};"
        for number, layer in enumerate(hidden)
    ]
    values = ["input", *(f"unit_{number}" for number in range(len(hidden))), "logits"]
    calls = [
        f"  {names['p']}_layer_{number}({values[number]}, {values[number + 1]});"
        for number in range(len(student.layers))
    ]
    return c.TAIL.substitute(
        names,
        inputs=_padded(start),
        units="\n".join(units),
        gather="\n".join(gather),
        calls="\n".join(calls),
    )


def _array(names: dict[str, str], suffix: str, values: np.ndarray) -> str:
    """A constant array of one or two dimensions, in lines of at most 100 columns."""
    ctype = f"{'u' if values.dtype.kind == 'u' else ''}int{8 * values.dtype.itemsize}_t"
    shape = "".join(f"[{size}]" for size in values.shape)
    head = f"{names['P']}_ALIGNED static const {ctype} {names['p']}_{suffix}{shape} = {{"
    if values.ndim == 1:
        return f"\n{head}\n{_wrapped(_literals(values))}\n}};\n"
    rows = [_wrapped([f"{{{', '.join(_literals(row))}}}"]) for row in values]
    return f"\n{head}\n" + ",\n".join(rows) + "\n};\n"


def _literals(values: np.ndarray) -> list[str]:
    suffix = {4: "UINT32_C(%d)", 8: "UINT64_C(%d)"}
    form = suffix.get(values.dtype.itemsize, "%d") if values.dtype.kind == "u" else "%d"
    return [form % int(value) for value in values]


def _wrapped(parts: Iterable[str]) -> str:
    return textwrap.fill(", ".join(parts), 100, initial_indent="  ", subsequent_indent="  ")
