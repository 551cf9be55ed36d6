"""Untrained students of a handful of units, for tests of what becomes of trained ones."""

import dataclasses
import functools

import jax
import numpy as np
import small_study

from packd_jax.checkpoints import save_checkpoint
from packd_jax.config import EntryConfig, ModelConfig, to_json_dict
from packd_jax.features import encode, learn_pc_vocabulary
from packd_jax.models import InputSpec, build_model
from packd_jax.quantize import FloatStudent

TABLES = {  # features that come of tables
    "local_deltas": 2,
    "local_entries": 4,
    "local_confidence": True,
    "popularity_entries": 16,
}


@functools.cache
def float_student(depth=1, width=3, seed=0, clusters=0, pc_width=1, family="token_mlp", **features):
    """A FloatStudent over `small_study.FEATURES`, whose fields `features` replace."""
    config = ModelConfig(family, width=width, depth=depth, pc_width=pc_width)
    encoding = dataclasses.replace(small_study.FEATURES, **features)
    spec = InputSpec.of(encoding, clusters)
    model = build_model(config, spec)
    init = jax.jit(lambda key: model.init(key, spec.zeros(), train=False))
    params = jax.tree.map(np.asarray, init(jax.random.key(seed))["params"])
    rng = np.random.default_rng(seed)
    for name, layer in params.items():
        if name != "encoder" and "bias" in layer:  # biases begin at zero
            layer["bias"] = rng.normal(size=layer["bias"].shape).astype(np.float32)
    vocabulary = learn_pc_vocabulary([small_study.trace().pc], encoding.pc_vocabulary)
    return FloatStudent(config, encoding, clusters, params, vocabulary, 0.5)


def examples(student, rows=500, seed=0):
    """Examples of the small study's trace in the encoding of a student."""
    trace = small_study.trace(rows, seed)
    return encode(trace, slice(0, rows), student.features, student.pc_vocabulary)


def save(directory, student):
    """The student as a study leaves it."""
    entry = EntryConfig(features=student.features, student=student.model)
    meta = {
        "kind": "student",
        "config": {"entry": to_json_dict(entry), "trace": to_json_dict(small_study.WINDOWS)},
        "metrics": {"threshold": 0.25},
        "pc_vocabulary": student.pc_vocabulary.tolist(),
    }
    save_checkpoint(directory, {"params": student.params}, meta)


def float_logits(student, inputs):
    """What JAX says, f32[N, D]."""
    model = build_model(student.model, student.inputs)
    apply = jax.jit(lambda batch: model.apply({"params": student.params}, batch, train=False))
    return np.asarray(apply(inputs))
