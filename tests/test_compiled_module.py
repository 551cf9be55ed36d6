import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latency_jax.measuring.compiled_module import CompiledModule, random_variables, sentinel_module

SHAPE = jax.ShapeDtypeStruct


def _run(compiled: CompiledModule, trips: int):
    outputs = compiled.plain_program(compiled.variables, *compiled.inputs)
    zeros = jax.tree.map(jnp.zeros_like, outputs)
    return compiled.loop_program(np.int32(trips), zeros, compiled.variables, *compiled.inputs)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (nn.Dense(7), (SHAPE((3, 5), jnp.float32),)),
        (nn.Dense(7, dtype=jnp.bfloat16), (SHAPE((3, 5), jnp.bfloat16),)),
        (nn.Conv(4, (3, 3)), (SHAPE((2, 6, 6, 3), jnp.float32),)),
        (nn.BatchNorm(use_running_average=True), (SHAPE((2, 4, 4, 3), jnp.float32),)),
    ],
    ids=["dense", "dense_bfloat16", "conv", "batch_norm"],
)
def test_each_trip_runs_the_module_on_what_the_trip_before_left(module, inputs):
    compiled = CompiledModule(module, inputs)
    (x,) = compiled.inputs
    seen = []
    for trips in range(1, 5):
        y = compiled.plain_program(compiled.variables, x)
        looped_x, looped_y = _run(compiled, trips)
        np.testing.assert_allclose(looped_y, y, rtol=1e-5, atol=1e-6)
        x = x.at[(0,) * x.ndim].set(jnp.clip(jnp.ravel(y)[0], -1, 1).astype(x.dtype))
        np.testing.assert_allclose(looped_x, x, rtol=1e-5, atol=1e-6)
        seen.append(float(jnp.ravel(y)[0]))
    assert len(set(seen)) == 4  # the value of every trip follows from the trip before


def test_token_ids_stay_in_the_table_and_depend_on_the_trip_before():
    compiled = CompiledModule(nn.Embed(50, 8), (SHAPE((2, 300), jnp.int32),))
    ids = np.asarray(compiled.inputs[0])
    assert ids.min() >= 0 and 40 < ids.max() < 50
    after, outputs = _run(compiled, 3)
    table = np.asarray(compiled.variables["params"]["embedding"])
    first = ids[0, 0]
    for _ in range(3):
        expected, first = table[first], int(table[first][0] > 0)
    np.testing.assert_allclose(outputs[0, 0], expected, rtol=1e-6)
    assert after[0, 0] == first and (np.asarray(after)[0, 1:] == ids[0, 1:]).all()


def _computations(program) -> dict[str, str]:
    """Name to text of each computation of a compiled program, that of the while loop's body as
    `body`, and `entry`."""
    text = program.as_text()
    found = dict(re.findall(r"^(?:ENTRY )?(%[\w.\-]+) .*?\{\n(.*?)^\}", text, re.M | re.S))
    found["entry"] = found[re.search(r"^ENTRY (%[\w.\-]+)", text, re.M).group(1)]
    body = re.search(r"body=(%[\w.\-]+)", text)
    if body:
        found["body"] = found[body.group(1)]
    return found


def _opcodes(computations: dict[str, str], name: str) -> list[str]:
    """Operations of a computation and of the fusions it calls, and the shapes they make."""
    text = computations[name]
    called = re.findall(r"calls=(%[\w.\-]+)", text)
    own = re.findall(r"= \w+(\[[\d,]*\])\S* ([\w\-]+)\(", text)
    return [f"{o} {s}" for s, o in own] + [o for c in called for o in _opcodes(computations, c)]


@pytest.mark.parametrize(
    ("module", "inputs", "operations"),
    [
        (nn.Dense(64), (SHAPE((4, 32), jnp.float32),), ["dot [4,64]"]),
        (
            nn.Dense(64, dtype=jnp.bfloat16),
            (SHAPE((4, 32), jnp.bfloat16),),
            ["dot [4,64]", "convert [32,64]"],
        ),
        (nn.Conv(8, (3, 3)), (SHAPE((1, 6, 6, 4), jnp.float32),), ["convolution [1,6,6,8]"]),
        (
            nn.BatchNorm(use_running_average=True),
            (SHAPE((2, 4, 4, 3), jnp.float32),),
            ["rsqrt [3]"],
        ),
    ],
    ids=["dense", "dense_bfloat16", "conv", "batch_norm"],
)
def test_the_loop_holds_all_of_the_plain_program(module, inputs, operations):
    """What depends on weights alone would be moved out of a loop without the barrier."""
    compiled = CompiledModule(module, inputs)
    plain = _opcodes(_computations(compiled.plain_program), "entry")
    loop = _computations(compiled.loop_program)
    for operation in operations:
        assert operation in plain
        assert operation in _opcodes(loop, "body")
        assert operation not in _opcodes(loop, "entry")


def test_a_bfloat16_input_is_changed_in_place():
    compiled = CompiledModule(nn.Dense(4, dtype=jnp.bfloat16), (SHAPE((64, 32), jnp.bfloat16),))
    body = _opcodes(_computations(compiled.loop_program), "body")
    text = compiled.loop_program.as_text()
    assert "dynamic-update-slice [64,32]" in body
    assert re.search(r"u16\[64,32\]\S* dynamic-update-slice", text)
    # A widened update would write the whole input in every trip.
    assert not re.search(r"(f32|bf16)\[64,32\]\S* dynamic-update-slice", text)


def test_variables_have_the_shapes_of_init_without_init():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=True)(nn.Conv(8, (3, 3))(x))

    x = SHAPE((1, 8, 8, 4), jnp.float32)
    compiled = CompiledModule(Block(), (x,))
    real = Block().init(jax.random.key(0), jnp.zeros(x.shape))
    assert jax.tree.map(jnp.shape, compiled.variables) == jax.tree.map(jnp.shape, real)
    variance = np.asarray(compiled.variables["batch_stats"]["BatchNorm_0"]["var"])
    assert (variance >= 0.5).all()
    kernel = np.asarray(compiled.variables["params"]["Conv_0"]["kernel"])
    assert np.std(kernel) == pytest.approx(1 / 6, rel=0.2)  # fan-in 36
    assert np.isfinite(compiled.plain_program(compiled.variables, *compiled.inputs)).all()


def test_fill_is_the_same_for_the_same_seed():
    shapes = {"params": {"kernel": SHAPE((70_000, 2), jnp.float32)}}
    a, b, c = (random_variables(shapes, np.random.default_rng(s)) for s in (1, 1, 2))
    kernel = np.asarray(a["params"]["kernel"])
    assert (kernel == np.asarray(b["params"]["kernel"])).all()
    assert (kernel != np.asarray(c["params"]["kernel"])).any()
    assert len(np.unique(kernel[:, 0])) > 60_000  # rows differ


def test_several_inputs_and_outputs():
    class Both(nn.Module):
        @nn.compact
        def __call__(self, a, b, mask):
            return {"sum": a + b, "dense": nn.Dense(3)(jnp.where(mask, b, 0))}

    shape = SHAPE((4, 5), jnp.float32)
    compiled = CompiledModule(Both(), (shape, shape, SHAPE((4, 5), jnp.bool_)))
    compiled.call()
    compiled.loop(2)
    # Outputs that no later trip reads are computed all the same.
    body = _opcodes(_computations(compiled.loop_program), "body")
    assert "dot [4,3]" in body and "add [4,5]" in body
    assert compiled.size_bytes == 4 * (2 * 20 + 5 * 3 + 3 + 20 + 12) + 20


@pytest.mark.parametrize("inputs", [(), (SHAPE((0, 3), jnp.float32),)])
def test_no_input_to_depend_on_is_an_error(inputs):
    with pytest.raises(ValueError, match=r"inputs of Dense are .*expected a first input with at"):
        CompiledModule(nn.Dense(2), inputs)


def test_the_sentinel_runs():
    sentinel = sentinel_module()
    sentinel.loop(2)
    assert "dot [64,512]" in _opcodes(_computations(sentinel.loop_program), "body")
