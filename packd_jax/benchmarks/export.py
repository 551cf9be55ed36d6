"""A prediction of the exported header, in turn with one of the float network in JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from packd_jax.benchmarks.scales import TOKENS, Scale, accesses
from packd_jax.benchmarks.timing import Line, compare, make_line, take_turns
from packd_jax.config import ModelConfig
from packd_jax.export import CompiledStudent, find_compiler
from packd_jax.features import encode, learn_pc_vocabulary
from packd_jax.models import InputSpec, build_model
from packd_jax.quantize import FloatStudent, quantize_student

CALLS = 1000  # of JAX in a repetition
AGAINST = "fp32 JAX, batch 1"
NETWORKS = {
    "4 wide": ModelConfig("token_mlp"),
    "24 wide": ModelConfig("token_mlp", width=24, delta_width=4, pc_width=3, offset_width=4),
}


def export(scale: Scale, repeats: int) -> Iterator[Line]:
    """Nanoseconds an access of the compiled header, tokens, state and bitmap included; one core.

    JAX is given ready tokens of one window at a time. Weights are untrained: nothing in either
    depends on their values. Without a C compiler there are the lines of JAX alone.
    """
    compiler = find_compiler()
    trace = accesses(scale, scale.train_rows)
    vocabulary = learn_pc_vocabulary([trace.pc], TOKENS.pc_vocabulary)
    inputs = encode(trace, slice(0, trace.rows), TOKENS, vocabulary).inputs
    windows = [
        {name: values[row : row + 1] for name, values in inputs.items()}
        for row in range(min(CALLS, len(inputs["offset"])))
    ]
    for title, config in NETWORKS.items():
        student, apply = _untrained(config, vocabulary)
        calls: dict[str, Callable[[], object]] = {AGAINST: partial(_predict, apply, windows)}
        for bits in (8, 4):
            if compiler is None:
                break
            compiled = CompiledStudent(quantize_student(student, weight_bits=bits)[0], compiler)
            calls[f"int{bits} C header"] = partial(compiled.bitmaps, trace.pc, trace.address)
        seconds = take_turns(calls, repeats)
        floats = seconds.pop(AGAINST) / len(windows)
        for name, whole in seconds.items():
            each = whole / trace.rows
            line = make_line(f"export {title}, {name}", "ns/access", 1e9 * each)
            ratio = compare("", "", 1.0, each, AGAINST, floats)
            yield line._replace(
                against=AGAINST, ratio=ratio.ratio, ratio_quartiles=ratio.ratio_quartiles
            )
        yield make_line(f"export {title}, {AGAINST}", "ns/access", 1e9 * floats)


def _untrained(config: ModelConfig, vocabulary: Any) -> tuple[FloatStudent, Callable[..., Any]]:
    spec = InputSpec.of(TOKENS)
    model = build_model(config, spec)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), spec.zeros())
    student = FloatStudent(config, TOKENS, 0, variables["params"], vocabulary, -1.0)
    return student, jax.jit(partial(model.apply, variables, train=False))


def _predict(apply: Callable[..., Any], windows: list[dict[str, Any]]) -> None:
    for window in windows:
        apply(window).block_until_ready()
