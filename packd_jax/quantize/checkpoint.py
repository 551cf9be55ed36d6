"""Students as studies leave them in checkpoints, and what they become as integers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from packd_jax.checkpoints import CheckpointError, describe_checkpoint, restore_checkpoint
from packd_jax.config import ConfigError, EntryConfig, from_config_dict
from packd_jax.example_source import in_memory
from packd_jax.models import InputSpec, build_model
from packd_jax.quantize.integer_student import IntegerStudent
from packd_jax.quantize.student import FloatStudent, Quantization, quantize_student
from packd_jax.quantize.training_rows import StudyRows, study_rows


class QuantizedCheckpoint(NamedTuple):
    """A checkpoint's student in floats and in integers, and what it was quantised with."""

    meta: dict[str, Any]
    floats: FloatStudent
    integers: IntegerStudent
    how: Quantization
    rows: StudyRows | None  # None: the study's traces are not here


def quantize_checkpoint(
    directory: str | os.PathLike, weight_bits: int = 8, traces: Sequence[str] = ()
) -> QuantizedCheckpoint:
    """Quantises the student of a checkpoint with the rows of its study (`traces` if they moved).

    Without these rows nothing is tuned and no activation can saturate. Raises CheckpointError,
    TraceError and ConfigError as `load_student`, `study_rows` and `quantize_student` do.
    """
    student, meta = load_student(directory)
    if student.clusters:
        raise ConfigError(
            f"{directory}: the student reads the id of its cluster, which only its study knows;"
            " expected one without, like that of the arm no_kd"
        )
    rows = study_rows(directory, meta, student.features, student.pc_vocabulary, traces)
    if rows is None:
        integers, how = quantize_student(student, weight_bits=weight_bits)
    else:
        train = in_memory(rows.splits.train.examples)
        validation = in_memory(rows.splits.validation.examples)
        integers, how = quantize_student(student, train, validation, weight_bits)
    return QuantizedCheckpoint(meta, student, integers, how, rows)


def load_student(directory: str | os.PathLike) -> tuple[FloatStudent, dict[str, Any]]:
    """The student in a checkpoint of a study, and the checkpoint's meta.

    Raises CheckpointError for what is missing, damaged, or holds something else.
    """
    meta = describe_checkpoint(directory).meta
    if meta.get("kind") != "student":
        raise CheckpointError(
            directory, f"holds {meta.get('kind')!r}; expected a student, as a study leaves them"
        )
    try:
        entry = from_config_dict(EntryConfig, meta["config"]["entry"], "config.entry")
        vocabulary = np.array(meta["pc_vocabulary"], np.uint64)
        probability = float(meta["metrics"]["threshold"])
        if not 0 < probability < 1:
            raise ValueError(f"threshold {probability}: expected a probability")
        clusters = len(meta["clusters"]["centers"]) if "clusters" in meta else 0
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problem = f"its meta describes no student ({type(error).__name__}: {error})"
        raise CheckpointError(directory, problem) from error
    spec = InputSpec.of(entry.features, clusters)
    model = build_model(entry.student, spec)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), spec.zeros(), train=False))
    like = {"params": shapes["params"], "batch_stats": shapes.get("batch_stats", {})}
    variables, _ = restore_checkpoint(directory, like)
    threshold = float(np.log(probability) - np.log1p(-probability))
    params = jax.tree.map(np.asarray, variables["params"])
    student = FloatStudent(entry.student, entry.features, clusters, params, vocabulary, threshold)
    return student, meta
