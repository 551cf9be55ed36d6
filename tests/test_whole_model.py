"""Latencies of whole models from those of their parts."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_latency_model import OVERHEAD_S, tiny_model

from latency_jax.intervals import Interval
from latency_jax.latency_model import LatencyModel
from latency_jax.parameters import ParameterError
from latency_jax.whole_model.capture import capture
from latency_jax.whole_model.correction import Correction
from latency_jax.whole_model.fallback import roofline_of
from latency_jax.whole_model.predict import model_terms, predict_model

FLOP_RATE = 1e10


class Net(nn.Module):
    """A convolution with its norm, a pool, a block that is scanned three times, a head."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(16, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.max_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1, 16)
        layers = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = layers()(x, None)
        return nn.Dense(10)(x.mean(axis=1))


class Body(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.gelu(nn.Dense(16)(x)), None


class Sorted(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.sort(nn.Dense(300)(x), axis=-1)


@pytest.fixture(scope="module")
def model():
    return tiny_model(FLOP_RATE)


@pytest.fixture(scope="module")
def graph():
    return capture(Net(), [jax.ShapeDtypeStruct((2, 16, 16, 8), jnp.float32)])


def seconds(flops, moved):
    return OVERHEAD_S + max(flops, 4 * moved) / FLOP_RATE


def test_a_model_takes_as_long_as_its_fused_calls(model, graph):
    """A roofline that was fitted to a roofline says what that says."""
    predicted = predict_model(model, graph)
    assert [(c.call.kind, c.call.runs) for c in predicted.calls] == [
        *(("conv_bn_relu", 1), ("max_pool", 1), ("dense", 3), ("global_pool", 1), ("dense", 1))
    ]
    expected = [c.call.runs * seconds(c.call.flops, c.call.bytes) for c in predicted.calls]
    found = [c.latency_s for c in predicted.calls]
    np.testing.assert_allclose(found, expected, rtol=0.02)
    assert predicted.latency_s == pytest.approx(sum(found))
    assert predicted.low_s <= predicted.latency_s <= predicted.high_s


def test_the_naive_sum_adds_modules_in_isolation(model, graph):
    predicted = predict_model(model, graph)
    isolated = [op for op in graph.ops if op.kind not in ("elementwise", "free")]
    assert [op.kind for op in isolated][:2] == ["conv2d", "batch_norm"]
    expected = sum(op.runs * seconds(op.flops, op.bytes) for op in isolated)
    assert predicted.naive_s == pytest.approx(expected, rel=0.02)
    assert predicted.naive_s > predicted.latency_s


def test_a_correction_changes_calls_and_whole_alike_and_gives_the_interval(model, graph):
    plain = predict_model(model, graph)
    correction = Correction((1.5, 0.0, 1e-9, 1e-6), 1e9, Interval(0.9, float(np.log(2))))
    corrected = predict_model(replace(model, correction=correction.to_json()), graph)
    terms = model_terms(model, graph).sum(axis=0)
    assert terms[0] == pytest.approx(plain.latency_s)
    assert terms[3] == 7  # calls, loops run three times
    assert terms[2] == graph.weight_bytes - 2 * 4 * (16 * 16 + 16)  # a loop's weights count once
    assert corrected.latency_s == pytest.approx(1.5 * plain.latency_s + 1e-9 * terms[2] + 1e-6 * 7)
    assert sum(c.latency_s for c in corrected.calls) == pytest.approx(corrected.latency_s)
    assert corrected.low_s == pytest.approx(corrected.latency_s / 2)
    assert corrected.high_s == pytest.approx(corrected.latency_s * 2)
    assert corrected.naive_s == plain.naive_s
    assert any("no correction" in w for w in plain.warnings)
    assert not any("no correction" in w for w in corrected.warnings)


def test_conditions_reach_every_call(graph):
    """The tiny model has not seen load, so a loaded machine is beyond it, and it says so."""
    predicted = predict_model(tiny_model(), graph, {"cpu_utilization": 0.5})
    assert not any(c.in_domain for c in predicted.calls)
    assert sum("beyond" in w for w in predicted.warnings) == 4  # a line for each kind
    with pytest.raises(ParameterError, match="did you mean 'cpu_utilization'"):
        predict_model(tiny_model(), graph, {"cpu_utilisation": 0.5})
    with pytest.raises(ParameterError, match="cpu_utilization = 2"):
        predict_model(tiny_model(), graph, {"cpu_utilization": 2})


def test_unknown_modules_fall_back_to_the_roofline_and_are_named(model):
    graph = capture(Sorted(), [jax.ShapeDtypeStruct((2, 64), jnp.float32)])
    predicted = predict_model(model, graph)
    dense, sort = predicted.calls
    assert dense.in_domain and not sort.in_domain
    (warning,) = [w for w in predicted.warnings if "no module kind" in w]
    assert "sort of Sorted" in warning and "register_call" in warning
    assert sort.latency_s == pytest.approx(seconds(600, 2 * 2400), rel=0.5)
    assert 0 < sort.low_s <= sort.latency_s <= sort.high_s


def test_kinds_that_the_latency_model_lacks_fall_back_too():
    few = tiny_model(FLOP_RATE, only=("dense", "conv2d"))
    inputs = [jax.ShapeDtypeStruct((2, 16, 16, 8), jnp.float32)]
    predicted = predict_model(few, capture(Net(), inputs, few.kinds))
    lacking = [w for w in predicted.warnings if "not in the latency model" in w]
    assert [w.split("'")[1] for w in lacking] == ["max_pool", "global_pool"]
    known = [c.in_domain for c in predicted.calls if c.call.kind in few.kinds]
    assert known and all(known)


def test_the_fallback_has_the_rates_of_the_known_kinds(model):
    conditions = {"cpu_utilization": 0.0, "memory_pressure": 0.0, "threads": 0}
    roofline = roofline_of(model, conditions)
    assert roofline == roofline_of(model, conditions)
    assert roofline.byte_rate == pytest.approx(FLOP_RATE / 4, rel=0.3)
    assert roofline.overhead_s == pytest.approx(OVERHEAD_S, rel=0.5)
    assert roofline.low <= 1 <= roofline.high
    with pytest.raises(ValueError, match="expected a registered one"):
        roofline_of(LatencyModel({}, {}), conditions)
