"""Quantised students as files: one npz with the arrays and a JSON record, checked by SHA-256.

No pickle is written or read: a stranger's file runs no code.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from packd_jax.checkpoints import CheckpointError
from packd_jax.config import FeatureConfig, from_config_dict
from packd_jax.json_files import plain_json
from packd_jax.quantize.integer_student import IntegerStudent, Layer, TokenTable
from packd_jax.staged_file import staged

_FORMAT = "packd_jax integer student 1"
_RECORD = "record"
_LIMIT = 1 << 26  # bytes of a file, and of what it unpacks to; no student is near it


def save_integer_student(
    path: str | os.PathLike, student: IntegerStudent, meta: Mapping[str, Any]
) -> None:
    """Writes a student and a JSON `meta`; readers see the file before or the whole new one."""
    record = {
        "format": _FORMAT,
        "meta": plain_json(meta, "meta", finite=True),
        "student": student.describe(),
        "digest": student.digest,
    }
    arrays = {_RECORD: np.frombuffer(json.dumps(record).encode(), np.uint8), **student.arrays()}
    with staged(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def load_integer_student(path: str | os.PathLike) -> tuple[IntegerStudent, dict[str, Any]]:
    """The student and the meta of `save_integer_student`, bit for bit.

    Raises CheckpointError for a file that is missing, damaged or something else.
    """
    try:
        student, record = _parse(Path(path))
    except FileNotFoundError:
        raise CheckpointError(path, "does not exist; expected the file of a student") from None
    # What zipfile, NumPy and our own checks raise for damaged or foreign files.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RuntimeError,
        RecursionError,
        MemoryError,
    ) as error:
        first = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        problem = f"damaged, or no quantised student ({first}); use a copy or export it again"
        raise CheckpointError(path, problem) from error
    if student.digest != record["digest"]:
        problem = "damaged: its values differ from their digest; use a copy or export it again"
        raise CheckpointError(path, problem)
    return student, dict(record["meta"])


def _parse(path: Path) -> tuple[IntegerStudent, dict[str, Any]]:
    if path.stat().st_size > _LIMIT:
        raise ValueError(f"more than {_LIMIT:,} bytes")
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        if sum(member.file_size for member in archive.infolist()) > _LIMIT:
            raise ValueError(f"it unpacks to more than {_LIMIT:,} bytes")
        # Whole members, so that their checksums are compared before anything is parsed.
        arrays = {
            name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
        }
    record = json.loads(arrays[_RECORD].tobytes())
    if record["format"] != _FORMAT:
        raise ValueError(f"format {record['format']!r}, expected {_FORMAT!r}")
    described = record["student"]
    tables = [
        TokenTable(str(name), int(steps), arrays[f"table_{number}"])
        for number, (name, steps) in enumerate(described["tables"])
    ]
    layers = [
        Layer(
            arrays[f"kernel_{number}"],
            arrays[f"bias_{number}"],
            int(factor),
            arrays[f"multiplier_{number}"],
            int(shift),
        )
        for number, (factor, shift) in enumerate(described["layers"])
    ]
    student = IntegerStudent(
        tables=tuple(tables),
        layers=tuple(layers),
        threshold=int(described["threshold"]),
        logit_scale=float(described["logit_scale"]),
        weight_bits=int(described["weight_bits"]),
        features=from_config_dict(FeatureConfig, described["features"], "features"),
        pc_vocabulary=arrays["pc_vocabulary"],
    )
    return student, record
