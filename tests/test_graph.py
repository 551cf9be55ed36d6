"""Graphs by hand: names, sums, and what is alive at a cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latency_jax.whole_model.graph import Graph, Op, size_bytes


def op(inputs, outputs, equations, runs=1, flops=0.0, **names):
    texts = {"path": "", "module": "Net", "operation": "", "kind": "dense", **names}
    return Op(
        **texts,
        values={},
        flops=flops,
        bytes=1.0,
        inputs=inputs,
        outputs=outputs,
        equations=equations,
        runs=runs,
    )


# Values: two inputs, what three operations make, and an output that nobody reads. The last two
# equations are a loop, whose operations both belong to equation 3; value 6 lives in it alone.
OPS = (
    op((0,), (2,), (0, 1), flops=10.0),
    op((2, 0), (3,), (2, 2), flops=100.0),
    op((3, 6), (6,), (3, 3), runs=5, flops=1000.0),
    op((6, 1), (4, 5), (3, 3)),
)


@pytest.fixture(scope="module")
def graph():
    program = jax.make_jaxpr(lambda x: jnp.exp(jnp.sin(jnp.cos(jnp.tan(x)))))(1.0)
    weights = {
        "kernel": jax.ShapeDtypeStruct((3, 5), jnp.float32),
        "table": [jax.ShapeDtypeStruct((7,), jnp.bfloat16), jax.ShapeDtypeStruct((), jnp.int8)],
    }
    sizes = (1, 2, 4, 8, 16, 32, 64)
    return Graph(OPS, sizes, (0, 1), (4, 5), weights, program, {})


@pytest.mark.parametrize(
    ("equation", "values"),
    [
        (0, {0, 1}),  # what the caller gives
        (1, {0, 1}),  # within a call whose output is not yet there
        (2, {0, 1, 2}),
        (3, {1, 3}),  # 0 and 2 are read no more
        (4, set()),  # outputs of the model are read by none of its operations
    ],
)
def test_values_cross_from_where_they_are_made_to_where_they_are_read_last(graph, equation, values):
    assert set(graph.crossing(equation)) == values
    assert graph.crossing_bytes()[equation] == sum(graph.size_bytes[v] for v in values)
    assert len(graph.crossing_bytes()) == 5  # one more than equations


def test_sums(graph):
    assert graph.flops == 10 + 100 + 5 * 1000
    assert graph.weight_bytes == 4 * 15 + 2 * 7 + 1


def test_a_model_without_operations():
    program = jax.make_jaxpr(lambda x: x)(1.0)
    empty = Graph((), (4,), (0,), (0,), {}, program, {})
    assert (empty.flops, empty.weight_bytes, empty.crossing(0)) == (0, 0, ())
    assert empty.crossing_bytes().tolist() == [0]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"path": "block_1/Dense_0"}, "block_1/Dense_0"),
        ({"path": "block_1", "operation": "add"}, "block_1/add"),
        ({"operation": "add"}, "add"),
        ({}, "Net"),  # the model itself
    ],
)
def test_names_say_where_and_what(names, expected):
    assert op((), (), (0, 0), **names).name == expected


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((2, 3), np.float64), 48),
        (np.zeros((0, 9), np.float32), 0),
        (jax.ShapeDtypeStruct((5,), jnp.bfloat16), 10),
        (jax.ShapeDtypeStruct((), jnp.bool_), 1),
        (jax.eval_shape(lambda: jax.random.key(0)), 8),
    ],
)
def test_bytes_of_arrays(array, expected):
    assert size_bytes(array) == expected
