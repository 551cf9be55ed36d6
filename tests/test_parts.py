"""A captured model cut into pieces."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_latency_model import tiny_model

from experiments.models import mobilenet, packd, transformers
from latency_jax.measuring.timing import MeasureConfig
from latency_jax.parameters import ParameterError
from latency_jax.partition.model_chain import Machine, model_chain
from latency_jax.partition.parts import Segment, parts_of, segments
from latency_jax.partition.plan import Link, best_plan
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.fusion import fused_calls
from latency_jax.whole_model.measured_model import measure_model
from latency_jax.whole_model.named_model import parse_inputs


class Residual(nn.Module):
    """Two layers within a residual, one of them wide, and a head that is narrow."""

    @nn.compact
    def __call__(self, x):
        y = nn.relu(nn.Dense(32)(x))
        x = x + nn.Dense(8)(y)
        return nn.Dense(2)(x)


FLOATS = jax.ShapeDtypeStruct((4, 8), jnp.float32)


def cut(module, *inputs):
    graph = capture(module, inputs)
    return graph, parts_of(graph, fused_calls(graph))


def test_what_is_alive_crosses_a_cut_once():
    graph, parts = cut(Residual(), FLOATS)
    assert parts.names == ("Dense_0+relu", "Dense_1+add", "Dense_2")
    row = 4 * 4  # bytes of a feature
    # The input; the hidden layer beside the residual; their sum; nothing.
    assert parts.cut_bytes.tolist() == [8 * row, (32 + 8) * row, 8 * row, 0]
    assert parts.equations[0] == 0 and parts.equations[-1] == len(graph.program.jaxpr.eqns)
    np.testing.assert_array_equal(parts.sums(np.array([1.0, 2.0, 4.0])), [1.0, 2.0, 4.0])


def test_bytes_at_every_cut_are_those_of_the_values_there():
    graph = capture(Residual(), [FLOATS])
    for equation, crossing in enumerate(graph.crossing_bytes()):
        assert crossing == sum(graph.size_bytes[v] for v in graph.crossing(equation))


def test_a_scan_is_not_cut():
    class Body(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(8)(nn.LayerNorm()(x)), None

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = nn.scan(
                Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=2
            )
            return nn.Dense(3)(layers()(x, None)[0])

    _, parts = cut(Scanned(), FLOATS)
    assert parts.calls == (range(2), range(2, 3))


def random_like(shapes, rng):
    def fill(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(
                rng.uniform(0.1, 1, leaf.shape) / np.sqrt(leaf.shape[-1]), leaf.dtype
            )
        return jnp.asarray(rng.integers(0, 9, leaf.shape), leaf.dtype)

    return jax.tree.map(fill, shapes)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (Residual(), ("4,8",)),
        (mobilenet.MobileNetV2(classes=3), ("1,32,32,3",)),
        (transformers.GPT(16, 2, 2, vocabulary=9, context=8), ("1,6:int32",)),
        (packd.lstm_student(), ("1,10:uint8", "1,10:uint8", "1:uint8")),
    ],
)
def test_pieces_compute_what_the_model_computes(module, inputs):
    inputs = parse_inputs(inputs)
    graph, parts = cut(module, *inputs)
    rng = np.random.default_rng(0)
    variables = random_like(graph.variables, rng)
    arrays = tuple(random_like(inputs, rng))
    expected = jax.jit(module.apply)(variables, *arrays)
    bounds = (0, len(parts.names) // 3, len(parts.names) // 2, len(parts.names))
    values = arrays
    for piece in segments(graph, bounds, parts):
        assert [v.shape for v in piece.inputs] == [v.shape for v in values]
        at = parts.equations.index(piece.start)
        assert sum(v.nbytes for v in values) == parts.cut_bytes[at]
        values = jax.jit(piece.apply)(variables, *values)
    (found,) = values
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


def test_a_piece_has_the_weights_that_it_reads_and_takes_all():
    graph, parts = cut(Residual(), FLOATS)
    piece = Segment(graph, parts.equations[1], parts.equations[2])
    rng = np.random.default_rng(0)
    variables, values = random_like(graph.variables, rng), random_like(piece.inputs, rng)
    own = jax.eval_shape(lambda: piece.init(jax.random.key(0), *values))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(own)]
    assert paths == ["['params']['Dense_1']['bias']", "['params']['Dense_1']['kernel']"]
    pruned = jax.tree.map(
        lambda shape, array: None if shape is None else array,
        own,
        variables,
        is_leaf=lambda shape: shape is None,
    )
    expected = piece.apply(variables, *values)
    for found, whole in zip(piece.apply(pruned, *values), expected, strict=True):
        np.testing.assert_array_equal(found, whole)


def test_a_piece_can_be_measured_and_a_number_of_threads_cannot():
    graph, parts = cut(Residual(), FLOATS)
    piece = Segment(graph, parts.equations[1], parts.equations[2])
    quick = MeasureConfig(windows=1, max_windows=1, window_s=0.001)
    assert 0 < measure_model(piece, piece.inputs, config=quick) < 1
    with pytest.raises(ParameterError, match="taskset"):
        measure_model(Residual(), [FLOATS], {"threads": 2})


def test_a_model_is_planned_over_machines_with_what_both_know():
    slow = tiny_model(1e9)
    fast = tiny_model(1e10, only=tuple(k for k in slow.kinds if k != "activation"))
    machines = [Machine("edge", slow, {}), Machine("server", fast, {})]
    planned = model_chain(Residual(), [FLOATS], machines, [Link(1e12, 0.0)], returns_result=True)
    edge, server = (device.latency_s for device in planned.chain.devices)
    assert edge.shape == server.shape == (3,) and (edge > server).all()
    assert planned.chain.returned_bytes == 4 * 2 * 4
    assert best_plan(planned.chain, "latency").bounds == (0, 0, 3)
    assert {w.partition(":")[0] for w in planned.warnings} == {"edge", "server"}
