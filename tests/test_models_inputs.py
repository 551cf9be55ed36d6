"""Batches and sizes that no model can take are refused, with what would be right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from packd_jax.config import ConfigError, FeatureConfig, ModelConfig
from packd_jax.models import InputSpec
from packd_jax.models.inputs import WindowEncoder


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


def test_spec_of_features_with_tables():
    asked = {"local_deltas": 2, "local_confidence": True, "popularity_entries": 8}
    spec = InputSpec.of(FeatureConfig(look_back=4, **asked), clusters=2)
    window = {"offset": (7,), "local": (7, 2), "confidence": (7,), "popularity": (7, 4)}
    shapes = {"delta": (7, 4), "pc": (7, 4), **window, "cluster": (7,)}
    assert spec.shapes(7) == shapes and list(spec.shapes(7)) == list(shapes)
    spec.check(spec.zeros(7))
    for name in ("local", "confidence", "popularity"):
        with pytest.raises(ValueError, match="FeatureConfig that the model was built for"):
            spec.check({k: v for k, v in spec.zeros(7).items() if k != name})
    segments = FeatureConfig(encoding="segments", look_back=4, **asked)
    assert InputSpec.of(segments).shapes(7) == {"segments": (7, 4, 10)}


@pytest.mark.parametrize("order", ["flat", "sequence"])
def test_tables_have_embeddings_of_their_own(order):
    """Tokens of the window change nothing but their own features, which follow the offset's."""
    config = ModelConfig(delta_width=2, pc_width=3, offset_width=1)
    features = FeatureConfig(
        look_back=4, local_deltas=2, local_confidence=True, popularity_entries=8
    )
    spec = InputSpec.of(features)
    encoder = WindowEncoder(config, spec)
    variables = encoder.init(jax.random.key(0), spec.zeros(), method="flat")
    widths = {k: v["embedding"].shape for k, v in variables["params"].items()}
    assert widths == {
        "delta": (89, 2), "local": (89, 2), "offset": (64, 1), "pc": (56, 3),
        "confidence": (8, 3), "popularity": (5, 3),
    }  # fmt: skip
    zeros = spec.zeros()
    plain = np.asarray(encoder.apply(variables, zeros, method=order))[0]
    outer = plain.shape[-1] - (1 + 2 * 2 + 3 + 4 * 3)
    assert outer == (4 * (2 + 3) if order == "flat" else 2 + 3)
    places = {"local": (1, 5), "confidence": (5, 8), "popularity": (8, 20)}
    for name, (start, stop) in places.items():
        other = zeros | {name: zeros[name] + jnp.uint8(3)}
        changed = np.asarray(encoder.apply(variables, other, method=order))[0] != plain
        expected = np.zeros(plain.shape, bool)
        expected[..., outer + start : outer + stop] = True
        np.testing.assert_array_equal(changed, expected)
