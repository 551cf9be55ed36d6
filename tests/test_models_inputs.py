"""Batches and sizes that no model can take are refused, with what would be right."""

import jax.numpy as jnp
import pytest

from packd_jax.config import ConfigError, FeatureConfig, ModelConfig
from packd_jax.models import InputSpec


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: {k: v for k, v in inputs.items() if k != "cluster"},
        lambda inputs: inputs | {"delta": inputs["delta"][:, 1:]},
        lambda inputs: inputs | {"pc": inputs["pc"].astype(jnp.int32)},
        lambda inputs: inputs | {"offset": inputs["offset"][1:]},
        lambda inputs: inputs | {"segments": inputs["delta"]},
    ],
)
def test_inputs_of_another_kind_are_refused(change):
    spec = InputSpec(clusters=3)
    spec.check(spec.zeros(4))
    with pytest.raises(ValueError, match="FeatureConfig that the model was built for"):
        spec.check(change(spec.zeros(4)))


@pytest.mark.parametrize(
    "bad",
    [{"encoding": "bytes"}, {"look_back": 0}, {"pc_tokens": 257}, {"clusters": -1}],
)
def test_input_specs_that_cannot_be(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} = .*expected"):
        InputSpec(**bad)


def test_heads_share_the_width():
    with pytest.raises(ConfigError, match="heads = 3: expected a divisor of the width 8"):
        ModelConfig("transformer", width=8, heads=3)


def test_spec_of_features():
    features = FeatureConfig(encoding="segments", look_back=4, delta_bound=8, pc_vocabulary=5)
    assert InputSpec.of(features, clusters=2) == InputSpec(
        "segments", look_back=4, label_bits=16, delta_vocabulary=89, pc_tokens=13, clusters=2
    )
    shapes = {"segments": (7, 4, 10), "cluster": (7,)}
    assert InputSpec.of(features, clusters=2).shapes(7) == shapes
