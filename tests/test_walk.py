"""Programs, and programs within them, as operations; without any linen module."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from latency_jax.whole_model.operations import ELEMENTWISE, FREE, UNKNOWN, KindValues
from latency_jax.whole_model.walk import SCOPE, Call, Walk, value_of

X, W = jnp.zeros((2, 8)), jnp.zeros((8, 8))


def walked(function, *inputs, weights=0, calls=()):
    """(operations, sizes of values, values of the outputs); the first `weights` inputs are such."""
    jaxpr = jax.make_jaxpr(function)(*inputs).jaxpr
    walk = Walk(calls)
    known = dict.fromkeys((*jaxpr.invars[:weights], *jaxpr.constvars))
    known.update((v, walk.new_value(v)) for v in jaxpr.invars[weights:])
    walk.run(jaxpr, known)
    return walk.ops, walk.size_bytes, [value_of(known, v) for v in jaxpr.outvars]


def kinds_of(ops):
    return [op.kind for op in ops if op.kind != FREE]


def test_what_follows_from_weights_is_no_operation():
    scale = jnp.arange(8.0)  # a constant of the program

    def function(w, x):
        kernel = (w.T * scale[None]) @ w
        return x @ kernel, kernel.sum()

    ops, sizes, outputs = walked(function, W, X, weights=1)
    assert [op[:5] for op in ops] == [
        ("", "", "dot_general", "dense", {"batch_size": 2, "positions": 1, "in_features": 8,
         "out_features": 8, "use_bias": False, "dtype": "float32"})
    ]  # fmt: skip
    assert (ops[0].inputs, ops[0].outputs, outputs) == ((0,), (1,), [1, None])
    assert sizes == [64, 64]


def test_weights_stay_weights_within_programs():
    """The transposed kernel comes first, so it must be known as one to be told from the rows."""

    @jax.jit
    def function(w, x):
        return lax.dot_general(w, x, (((1,), (1,)), ((), ()))), w + 1

    ops, _, outputs = walked(lambda w, x: function(w.T, x), jnp.zeros((8, 5)), X, weights=1)
    (dense,) = (op for op in ops if op.kind == "dense")
    assert (dense.values["batch_size"], dense.values["out_features"]) == (2, 5)
    assert outputs[1] is None


def custom_jvp(function):
    wrapped = jax.custom_jvp(function)
    wrapped.defjvp(lambda primals, tangents: (function(*primals), function(*tangents)))
    return wrapped


def custom_vjp(function):
    wrapped = jax.custom_vjp(function)
    wrapped.defvjp(lambda *x: (function(*x), x), lambda x, gradient: (gradient, gradient))
    return wrapped


@pytest.mark.parametrize(
    "wrap",
    [
        *(jax.jit, lambda f: jax.jit(jax.jit(f)), jax.checkpoint, custom_jvp, custom_vjp),
        lambda f: jax.checkpoint(custom_jvp(jax.jit(f))),
    ],
)
def test_programs_within_are_dissolved(wrap):
    def inner(w, x):
        return jnp.sin(x @ w) + x

    def outer(f):
        return walked(lambda w, x: f(w, f(w, jnp.cos(x))), W, X, weights=1)

    ops, *values = outer(wrap(inner))
    plain, *plain_values = outer(inner)
    assert [op._replace(equations=(0, 0)) for op in ops] == [
        op._replace(equations=(0, 0)) for op in plain
    ]
    assert values == plain_values
    # Where a program is cut, it is cut between those within.
    assert [op.equations for op in ops] == [(0, 0), *[(1, 1)] * 3, *[(2, 2)] * 3]


def test_a_loop_runs_its_body_as_often_as_it_is_long():
    def function(stacked, x):
        def body(carried, w):
            def again(y, _):
                return jnp.sin(y), None

            return lax.scan(again, carried @ w, None, length=7)[0], carried.sum(axis=1)

        return lax.scan(body, x, stacked)

    ops, sizes, outputs = walked(function, jnp.zeros((3, 8, 8)), X, weights=1)
    assert [(op.operation, op.kind, op.runs) for op in ops if op.operation != "mul"] == [
        ("dot_general", "dense", 3),
        ("sin", ELEMENTWISE, 21),
        ("scan", FREE, 3),
        ("reduce_sum", "global_pool", 3),
        ("scan", FREE, 1),
    ]
    assert {op.equations for op in ops} == {(0, 0)}
    assert [sizes[v] for v in outputs] == [64, 3 * 2 * 4]
    # The loop makes what its body makes.
    made = {op.operation: op.outputs for op in ops[:-1]}
    assert {*made["reduce_sum"], *made["scan"]} <= set(ops[-1].inputs)


def test_what_is_carried_from_zeros_on_is_no_weight():
    def function(w, xs):
        return lax.scan(lambda state, x: (state @ w + x, None), jnp.zeros((2, 8)), xs)[0]

    ops, _, outputs = walked(function, W, jnp.zeros((5, 2, 8)), weights=1)
    assert kinds_of(ops) == ["dense", ELEMENTWISE] and ops[0].runs == 5
    assert outputs[0] in ops[-1].outputs
    # A loop over weights alone is none, whatever it carries.
    ops, _, outputs = walked(function, W, jnp.zeros((5, 2, 8)), weights=2)
    assert (ops, outputs) == ([], [None])


def test_activations_of_jax_are_one_operation():
    def function(x):
        return jax.nn.leaky_relu(jax.nn.silu(jax.nn.relu(x))) * jax.nn.hard_silu(x)

    ops, *_ = walked(function, X)
    assert [op.operation for op in ops] == ["relu", "silu", "leaky_relu", "hard_swish", "mul"]
    assert {op.kind for op in ops} == {ELEMENTWISE}
    # A name that is given to a value says nothing of what it is.
    ops, *_ = walked(lambda x: checkpoint_name(x, "gelu"), X)
    assert [(op.operation, op.kind) for op in ops] == [("name", FREE)]


def test_costs_without_a_kind():
    ops, *_ = walked(lambda x, y: lax.while_loop(lambda s: s[0, 0] < 9, lambda s: s + y, x), X, X)
    (loop,) = ops
    assert (loop.operation, loop.kind, loop.flops, loop.bytes) == ("while", UNKNOWN, 16, 3 * 64)
    (add,), *_ = walked(lambda x: x + x, X)
    assert (add.flops, add.bytes, add.inputs) == (16, 2 * 64, (0,))  # read once
    (free,), *_ = walked(lambda x: lax.reshape(x, (16,)), X)
    assert (free.flops, free.bytes) == (0, 0)


def scoped(number, function):
    def call(*inputs):
        with jax.named_scope(f"{SCOPE}{number}"):
            return function(*inputs)

    return call


def dense(w, x):
    return x @ w + jnp.ones(8)[None]


DENSE = Call("block/Dense_0", "Dense", None, is_product=True, use_bias=True)


@pytest.mark.parametrize("layer", [dense, jax.jit(dense), jax.checkpoint(dense), custom_jvp(dense)])
def test_a_product_with_its_bias_is_one_operation_however_it_is_wrapped(layer):
    calls = [DENSE, DENSE._replace(path="block/Dense_1", use_bias=False)]

    def function(w, x):
        return scoped(1, layer)(w, scoped(0, layer)(w, x)) + x

    ops, *_ = walked(function, W, X, weights=1, calls=calls)
    assert [(op.path, op.module, op.operation, op.kind) for op in ops] == [
        ("block/Dense_0", "Dense", "", "dense"),
        ("block/Dense_1", "Dense", "", "dense"),
        ("", "", "add", ELEMENTWISE),
    ]
    assert [op.values["use_bias"] for op in ops[:2]] == [True, False]
    assert [op.flops for op in ops] == [2 * 2 * 8 * 8 + 16, 2 * 2 * 8 * 8, 16]
    assert ops[0].equations[1] < ops[1].equations[0] <= ops[1].equations[1]
    assert ops[1].inputs == ops[0].outputs[-1:]


def test_calls_of_a_known_kind_are_one_and_others_are_looked_into():
    softmax = KindValues("softmax", {"features": 8, "batch_size": 2})
    calls = [
        Call("head", "Head"),
        Call("head/norm", "Norm", softmax),
        Call("odd", "Odd", None, True),
    ]

    def head(x):
        return jnp.sin(scoped(1, jax.nn.softmax)(jnp.cos(x)))

    ops, *_ = walked(lambda x: scoped(2, jnp.exp)(scoped(0, head)(x)), X, calls=calls)
    assert [(op.path, op.operation, op.kind) for op in ops] == [
        ("head", "cos", ELEMENTWISE),
        ("head/norm", "", "softmax"),
        ("head", "sin", ELEMENTWISE),
        ("odd", "", UNKNOWN),  # said to be a product, and has none
    ]
