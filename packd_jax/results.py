"""Rows of results.json: every student judged on test, once, and kept as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from packd_jax import evaluation, metrics
from packd_jax.batching import subset_rows
from packd_jax.checkpoints import save_checkpoint
from packd_jax.clustering import Clustering
from packd_jax.config import to_json_dict
from packd_jax.example_source import ExampleSource, label_counts
from packd_jax.metrics import ScoreHistogram
from packd_jax.models import parameter_bytes, parameter_count
from packd_jax.provenance import provenance
from packd_jax.sources import AnySource
from packd_jax.splits import SPLITS
from packd_jax.students import Material, Student
from packd_jax.teachers import Clusters, judged_on


def judge_on_test(students: Sequence[Student], material: Material) -> list[ScoreHistogram]:
    """Looks at test, once for each program of students: the score histogram of each student."""
    stacks: dict[int, ScoreHistogram] = {}
    for student in students:
        if id(student.stack) not in stacks:
            examples = material.examples("test", student.cluster_input)
            whole = evaluation.evaluate(student.model, student.stack.variables, examples)
            stacks[id(student.stack)] = whole
    return [stacks[id(student.stack)].run(student.run) for student in students]


def marginal_rows(name: str, material: Material) -> list[dict[str, Any]]:
    """The rows of the arm `marginal`, which are equal for all seeds."""
    scores = _marginal_scores(material)
    return [_row(name, material, "marginal", seed, scores) for seed in material.config.seeds]


def student_rows(
    name: str,
    students: Sequence[Student],
    tests: Sequence[ScoreHistogram],
    material: Material,
    sources: Sequence[AnySource],
    workdir: Path,
) -> list[dict[str, Any]]:
    """The students' rows: test scores at the thresholds that validation chose.

    Leaves a checkpoint of each student under `workdir/checkpoints/entry/arm/seed_N`.
    """
    rows = []
    for student, test in zip(students, tests):
        stack = student.stack
        scores = _scores(test, int(stack.threshold_bin[student.run]), float(stack.f1[student.run]))
        row = _row(name, material, student.candidate.arm, student.seed, scores)
        one = jax.tree.map(lambda leaf, run=student.run: leaf[run], stack.variables)
        candidate = student.candidate
        row |= {
            "model": material.entry.student.family,
            "params": parameter_count(one["params"]),
            "bytes": parameter_bytes(one),
            "steps": material.entry.student_train.steps,
            # Arms and seeds train in one program: each row has its share of the time.
            "train_seconds": stack.info.seconds[-1] / len(stack.f1),
            "checkpoint": f"checkpoints/{name}/{candidate.arm}/seed_{student.seed}",
            "alpha": list(candidate.alpha),
            "temperature": candidate.temperature,
            "clusters": str(candidate.clusters) if candidate.clusters else None,
        }
        save_checkpoint(workdir / row["checkpoint"], one, _meta(row, student, material, sources))
        rows.append(row)
    return rows


def details(
    material: Material, students: Sequence[Student], tests: Sequence[ScoreHistogram]
) -> dict[str, Any]:
    """What the report draws beside the table: clusters, teachers, curves, label frequencies."""
    splits = material.splits
    return {
        "rows": {name: getattr(splits, name).examples.rows for name in SPLITS},
        "label_frequency": _label_shares(splits.train.examples).tolist(),
        "teachers": {
            str(key): {"validation_f1": t.f1, "clusters": len(t.fit.f1), "steps": t.steps}
            for key, t in material.teachers.items()
        },
        "clusters": {
            str(key): {
                **clusters_json(clusters.fitted),
                "test_rows": np.bincount(
                    clusters.ids["test"], minlength=clusters.fitted.k
                ).tolist(),
                "test_f1": _f1_by_cluster(students, material, clusters),
            }
            for key, clusters in material.clusters.items()
        },
        "curves": [
            {
                "arm": s.candidate.arm,
                "seed": s.seed,
                "step": s.stack.info.step,
                "loss": [loss[s.run] for loss in s.stack.info.loss],
                "validation_f1": [f1[s.run] for f1 in s.stack.info.f1],
            }
            for s in students
        ],
        "threshold_curve": _threshold_curve(students, tests) if students else None,
    }


def _threshold_curve(
    students: Sequence[Student], tests: Sequence[ScoreHistogram]
) -> dict[str, Any]:
    """Test F1 over the threshold, for the student that is best on validation."""
    best = max(range(len(students)), key=lambda i: students[i].stack.f1[students[i].run])
    student = students[best]
    return {
        "arm": student.candidate.arm,
        "seed": student.seed,
        "threshold": [metrics.threshold_probability(b) for b in range(0, metrics.BINS, 8)],
        "test_f1": metrics.f1_curve(tests[best])[::8].tolist(),
    }


def describe_traces(sources: Sequence[AnySource], details: Mapping[str, Any]) -> dict[str, Any]:
    """Which traces a study read; several are listed."""
    paths, hashes = [s.path for s in sources], [s.sha256 for s in sources]
    return {
        "path": paths[0] if len(paths) == 1 else paths,
        "sha256": hashes[0] if len(hashes) == 1 else hashes,
        "trace_rows": sum(s.rows for s in sources),
        "rows": {name: entry["rows"] for name, entry in details.items()},
    }


def clusters_json(fitted: Clustering) -> dict[str, Any]:
    """A clustering as plain JSON, for checkpoints and reports."""
    return {
        "feature": fitted.feature,
        "sizes": fitted.counts.tolist(),  # of what it was fitted on
        "merged": fitted.merged,
        "mean": fitted.mean.tolist(),
        "scale": fitted.scale.tolist(),
        "centers": fitted.centers.tolist(),
    }


def _scores(test: ScoreHistogram, threshold_bin: int, validation_f1: float) -> dict[str, float]:
    return {
        **metrics.score_at(test, threshold_bin)._asdict(),
        "average_precision": metrics.average_precision(test),
        "f1_at_half": metrics.score_at(test, metrics.HALF).f1,
        "threshold": metrics.threshold_probability(threshold_bin),
        "validation_f1": validation_f1,
    }


def _marginal_scores(material: Material) -> dict[str, float]:
    """How often each bit is set in training, as a predictor that looks at nothing."""
    splits = material.splits
    examples, drawn = splits.train.examples, material.entry.student_train.rows
    rows = subset_rows(examples.rows, drawn, seed=0) if drawn else None
    share = np.clip(_label_shares(examples, rows), 1e-7, 1 - 1e-7)
    logits = np.log(share) - np.log1p(-share)
    validation = _constant(logits, judged_on(splits, material.config).examples)
    threshold = metrics.best_threshold(validation)
    test = _constant(logits, splits.test.examples)
    return _scores(test, threshold, metrics.score_at(validation, threshold).f1)


def _label_shares(examples: ExampleSource, rows: np.ndarray | None = None) -> np.ndarray:
    """How often each label bit is set, f64[D]."""
    return label_counts(examples, rows) / (examples.rows if rows is None else len(rows))


def _constant(logits: np.ndarray, examples: ExampleSource) -> ScoreHistogram:
    return metrics.counted_histogram(logits, label_counts(examples), examples.rows)


def _row(
    name: str, material: Material, arm: str, seed: int, scores: dict[str, float]
) -> dict[str, Any]:
    features = material.entry.features
    row = {"entry": name, "encoding": features.encoding, "model": arm, "params": 0}
    # A constant predictor is one bitmap.
    row |= {"bytes": features.label_bits // 8, "arm": arm, "seed": seed, **scores}
    return row | {"steps": 0, "train_seconds": 0.0, "checkpoint": None}


def _meta(
    row: Mapping[str, Any], student: Student, material: Material, sources: Sequence[AnySource]
) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "kind": "student",
        "config": {
            "trace": to_json_dict(material.config.trace),
            "entry": to_json_dict(material.entry),
            "arm": row["arm"],
            "seed": row["seed"],
            "alpha": row["alpha"],
            "temperature": row["temperature"],
        },
        "metrics": {key: value for key, value in row.items() if isinstance(value, int | float)},
        "pc_vocabulary": material.splits.pc_vocabulary.tolist(),
        "provenance": {
            "trace": {"paths": [s.path for s in sources], "sha256": [s.sha256 for s in sources]},
            "environment": provenance(),
        },
    }
    if student.cluster_input is not None:
        meta["clusters"] = clusters_json(material.clusters[student.cluster_input].fitted)
    return meta


def _f1_by_cluster(
    students: Sequence[Student], material: Material, clusters: Clusters
) -> dict[str, list[float]]:
    """Test F1 in each cluster at the students' own thresholds, mean over seeds, by arm.

    NaN for a cluster without a test row.
    """
    ids, count = clusters.ids["test"], clusters.fitted.k
    absent = np.where(np.bincount(ids, minlength=count) > 0, 0.0, np.nan)
    stacks: dict[int, list[ScoreHistogram]] = {}
    scores: dict[str, list[list[float]]] = {}
    for student in students:
        stack = student.stack
        if id(stack) not in stacks:
            examples = material.examples("test", student.cluster_input)
            stacks[id(stack)] = evaluation.evaluate_groups(
                student.model, stack.variables, examples, ids, count
            )
        threshold = int(stack.threshold_bin[student.run])
        own = [metrics.score_at(h.run(student.run), threshold).f1 for h in stacks[id(stack)]]
        scores.setdefault(student.candidate.arm, []).append(own)
    return {arm: (np.mean(f1, axis=0) + absent).tolist() for arm, f1 in scores.items()}
