import numpy as np
import pytest
import small_student
import small_study

from packd_jax.config import ConfigError, ModelConfig
from packd_jax.models import InputSpec
from packd_jax.quantize.token_network import embed, token_network, token_steps


@pytest.mark.parametrize(
    ("depth", "clusters", "tables"),
    [
        (1, 0, {}),
        (3, 0, {}),
        (1, 2, {"local_deltas": 2, "local_entries": 4}),
        (1, 0, {"popularity_entries": 16}),
        (2, 2, small_student.TABLES),
    ],
)
def test_plain_arrays_compute_what_the_module_does(depth, clusters, tables):
    student = small_student.float_student(depth, clusters=clusters, pc_width=2, **tables)
    inputs = small_student.examples(student).inputs
    if clusters:
        inputs["cluster"] = (np.arange(len(inputs["offset"])) % clusters).astype(np.uint8)
    network = token_network(student.params, student.model, student.inputs)
    assert list(network.tables) == sorted(inputs)  # the order that jax.tree.map would leave
    x = embed(network, inputs)
    for kernel, bias in zip(network.kernels[:-1], network.biases[:-1]):
        x = np.maximum(x @ kernel + bias[None], 0)
    logits = x @ network.kernels[-1] + network.biases[-1][None]
    np.testing.assert_allclose(
        logits, small_student.float_logits(student, inputs), rtol=1e-5, atol=1e-5
    )


def test_steps_count_the_tokens_of_a_window():
    assert token_steps(InputSpec.of(small_study.FEATURES, 2)) == {
        "delta": 3,
        "pc": 3,
        "offset": 1,
        "cluster": 1,
    }


@pytest.mark.parametrize(
    ("family", "encoding"), [("mixer", "tokens"), ("token_mlp", "segments"), ("lstm", "segments")]
)
def test_other_students_are_refused(family, encoding):
    with pytest.raises(ConfigError, match=f"a {family} over {encoding}: expected a token_mlp"):
        token_network({}, ModelConfig(family), InputSpec(encoding))
