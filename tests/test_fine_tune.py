import jax
import numpy as np
import pytest
import small_student

from packd_jax.config import TrainConfig
from packd_jax.quantize.fine_tune import RoundedNetwork, fine_tune
from packd_jax.quantize.post_training import calibrate, choose_scales, quantize_network
from packd_jax.quantize.token_network import token_network, token_steps


def parts(bits=8, depth=1, width=8):
    student = small_student.float_student(depth, width)
    examples = small_student.examples(student)
    network = token_network(student.params, student.model, student.inputs)
    ranges = calibrate(network, examples.inputs)
    scales = choose_scales(network, ranges, token_steps(student.inputs), bits)
    return student, examples, network, scales


def integers_of(student, network, scales, bits):
    return quantize_network(
        network,
        scales,
        token_steps(student.inputs),
        0.0,
        bits,
        student.features,
        student.pc_vocabulary,
    )


@pytest.mark.parametrize(("depth", "bits"), [(1, 8), (2, 4)])
def test_the_rounded_network_computes_what_the_integers_will(depth, bits):
    student, examples, network, scales = parts(bits, depth)
    model = RoundedNetwork(network, scales, bits)
    variables = model.init(jax.random.key(0), examples.inputs, train=False)
    logits = np.asarray(
        jax.jit(lambda v, i: model.apply(v, i, train=False))(variables, examples.inputs)
    )
    integers = integers_of(student, network, scales, bits)
    output = integers.layers[-1]
    products = integers.logits(examples.inputs) - output.bias.astype(np.int32) * output.bias_factor
    error = np.abs(products * integers.logit_scale - (logits - network.biases[-1][None]))
    # A hidden unit may fall to either side of a half.
    assert np.median(error) < 1e-3 * logits.std()
    assert error.max() < 0.1 * logits.std()


def test_gradients_pass_through_the_rounding_but_not_through_saturation():
    _, examples, network, scales = parts()
    model = RoundedNetwork(network, scales, 8)
    variables = model.init(jax.random.key(0), examples.inputs, train=False)

    def total(variables, inputs):
        return model.apply(variables, inputs, train=True).sum()

    gradient = jax.jit(jax.grad(total))(variables, examples.inputs)["params"]
    exact = jax.jit(jax.grad(lambda v, i: _exact(v["params"], i).sum()))(
        variables, examples.inputs
    )["params"]
    for ours, theirs in zip(gradient["kernels"], exact["kernels"]):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=0.05)
    scales = scales._replace(hidden=[scale * 1e-3 for scale in scales.hidden])
    narrow = RoundedNetwork(network, scales, 8)

    def saturating(variables, inputs):
        return narrow.apply(variables, inputs, train=True).sum()

    saturated = jax.jit(jax.grad(saturating))(variables, examples.inputs)["params"]
    assert np.abs(saturated["kernels"][0]).max() < 0.05 * np.abs(gradient["kernels"][0]).max()


def _exact(network, inputs):
    x = [network["tables"][n][inputs[n]].reshape(len(inputs[n]), -1) for n in sorted(inputs)]
    x = jax.numpy.concatenate(x, axis=1)
    for kernel, bias in zip(network["kernels"][:-1], network["biases"][:-1]):
        x = jax.nn.relu(x @ kernel + bias[None])
    return x @ network["kernels"][-1] + network["biases"][-1][None]


def test_training_lowers_the_loss_of_the_integers():
    student, examples, network, scales = parts(4)
    train, validation = examples.take(slice(0, 350)), examples.take(slice(350, None))
    settings = TrainConfig(steps=60, batch_size=32, learning_rate=1e-2, evaluations=3)
    tuned = fine_tune(network, scales, train, validation, 4, settings)

    def loss(network):
        integers = integers_of(student, network, scales, 4)
        logits = integers.logits(validation.inputs) * integers.logit_scale
        labels = np.unpackbits(validation.labels, axis=1, bitorder="little")
        return (np.logaddexp(0, logits) - labels * logits).mean()

    assert loss(tuned) < 0.8 * loss(network)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(tuned))
