"""One C11 header from a quantised student: constants, state, and a function for each access."""

from __future__ import annotations

import re

import numpy as np

from packd_jax.config import ConfigError
from packd_jax.export import c_templates as c
from packd_jax.export.c_constants import constant_array
from packd_jax.export.c_state import state_text
from packd_jax.models import InputSpec
from packd_jax.quantize.integer_student import IntegerStudent, packed_kernel

VECTOR = 16  # bytes that every processor with vectors takes at once


def c_header(student: IntegerStudent, name: str) -> str:
    """The text of a header in which every identifier starts with `name`.

    Raises ConfigError for a name that is no C identifier, and for a student whose inputs a
    header cannot make out of accesses: another encoding than tokens, or the cluster id.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ConfigError(f"name {name!r}: expected a C identifier, like bfs_student")
    tables = [table.name for table in student.tables]
    made = InputSpec.of(student.features).shapes(1)
    if student.features.encoding != "tokens" or set(tables) != set(made):
        raise ConfigError(
            f"the student reads {', '.join(tables)} ({student.features.encoding}): headers make"
            f" {', '.join(made)} (tokens) out of accesses; export a student of these"
        )
    names = {"p": name, "P": name.upper()}
    return "".join(
        [
            c.HEAD.substitute(names, **_summary(student)),
            *(constant_array(names, f"table_{t.name}", t.values) for t in student.tables),
            state_text(student, names),
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
        "state_bits": f"{student.features.state_bits:,}",
        "bits": student.label_bits,
        "bound": student.features.delta_bound,
        "look_back": student.features.look_back,
        "threshold": student.threshold,
        "logit_scale": repr(student.logit_scale),
    }


def _layer(student: IntegerStudent, number: int, names: dict[str, str]) -> str:
    layer, hidden = student.layers[number], number < len(student.layers) - 1
    inputs, outputs = layer.kernel.shape
    if hidden:
        kernel = np.zeros((outputs, _padded(inputs)), np.int8)
        kernel[:, :inputs] = layer.kernel.T
    else:
        kernel = packed_kernel(layer.kernel, student.weight_bits)
    constants = [
        constant_array(names, f"kernel_{number}", kernel),
        constant_array(names, f"bias_{number}", layer.bias),
    ]
    if hidden:
        constants.append(constant_array(names, f"multiplier_{number}", layer.multiplier))
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
