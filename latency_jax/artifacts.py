"""Artifacts: named files written whole or not at all, and never read when they are damaged.

An artifact is one zip file, or one directory, that holds some files and `artifact.json`:

    {"format": "latency_jax regressor", "version": 1, "written_by": {"python": "3.12.1", ...},
     "files": {"model.json": {"bytes": 812, "sha256": "..."}, ...}, "sha256": "..."}

where the last checksum is that of the record itself without it. Only JSON and arrays belong
inside: nothing in an artifact is ever run, so a stranger's file cannot run code here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

RECORD = "artifact.json"
_RECORD_LIMIT = 1 << 24  # bytes; no record is near it, and a forged length must not be believed


class ArtifactError(ValueError):
    """An artifact that cannot be written or read: which one, and what is wrong with it."""

    def __init__(self, path: str | os.PathLike, problem: str) -> None:
        super().__init__(f"{os.fspath(path)}: {problem}")
        self.path = os.fspath(path)
        self.problem = problem


def write_artifact(
    path: str | os.PathLike, format: str, version: int, files: Mapping[str, bytes]
) -> None:
    """Writes an artifact: one file where the path ends in ".zip", a directory otherwise.

    It is complete under a temporary name first and then renamed, so readers see the old one or
    the new one. Raises ArtifactError where the path holds something that is no artifact.
    """
    path = Path(path)
    for name in files:
        if not _is_plain(name) or name == RECORD:
            raise ArtifactError(path, f"file name {name!r}: expected like 'conv2d/arrays.npz'")
    if path.is_dir() and (path.suffix == ".zip" or not (path / RECORD).is_file()):
        raise ArtifactError(path, "is a directory of something else; choose another path")
    contents = {RECORD: _record(format, version, files), **files}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    if path.suffix == ".zip":
        temporary.write_bytes(_zip(contents))
        os.replace(temporary, path)
        return
    if path.is_file():
        raise ArtifactError(path, "is a file; choose another path, or one that ends in .zip")
    for name, data in contents.items():
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).write_bytes(data)
    if path.exists():  # rename replaces no directory that holds files
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        os.rename(path, old)
        os.rename(temporary, path)
        shutil.rmtree(old)
    else:
        os.rename(temporary, path)


def read_artifact(
    path: str | os.PathLike, format: str, version: int, oldest: int | None = None
) -> dict[str, bytes]:
    """The files of an artifact by name, each with the checksum that its record says.

    Versions from `oldest` on are read, or `version` alone. Raises ArtifactError for a path that
    is missing, damaged, truncated, of another format or of another version.
    """
    path, version_range = Path(path), (version if oldest is None else oldest, version)
    if path.is_dir():
        return _checked_files(path, format, version_range, _DirectoryReader(path))
    if not path.is_file():
        raise ArtifactError(path, "no such file or directory")
    try:
        with zipfile.ZipFile(path) as archive:
            return _checked_files(path, format, version_range, _ZipReader(archive))
    except ArtifactError:
        raise
    # What zipfile raises for damaged archives; each was met in fuzzing.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(path, f"damaged, or no artifact: {error}") from error


def to_npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays of numbers, booleans or text as the bytes of a compressed npz file."""
    for name, array in arrays.items():
        if array.dtype.hasobject:  # NumPy would pickle it
            raise TypeError(f"array {name!r} holds {array.dtype}: expected numbers or text")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def from_npz(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of `to_npz`. Raises ValueError for anything else, objects among it."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, TypeError) as error:
        raise ValueError(f"not the bytes of an npz file: {error}") from error


def to_json(value: Any) -> bytes:
    """Strict JSON text of plain values; floats come back bit for bit."""
    return json.dumps(value, allow_nan=False, sort_keys=True).encode()


class _DirectoryReader:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, name: str, limit: int) -> bytes:
        with open(self.directory / name, "rb") as file:
            return file.read(limit + 1)


class _ZipReader:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive

    def read(self, name: str, limit: int) -> bytes:
        if self.archive.getinfo(name).compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise zipfile.BadZipFile(f"{name} is compressed in a way that we never write")
        with self.archive.open(name) as file:
            return file.read(limit + 1)


def _checked_files(
    path: Path, format: str, versions: tuple[int, int], reader: _DirectoryReader | _ZipReader
) -> dict[str, bytes]:
    try:
        text = reader.read(RECORD, _RECORD_LIMIT)
    except (KeyError, FileNotFoundError) as error:
        raise ArtifactError(path, f"holds no {RECORD}: expected a {format}") from error
    try:
        record = json.loads(text)
        claimed = record.pop("sha256")
        found_format, found_version = record["format"], int(record["version"])
        expected = {str(n): (int(f["bytes"]), f["sha256"]) for n, f in record["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(path, f"{RECORD} is damaged or foreign: {error!r}") from error
    if claimed != _sha256(to_json(record)):
        raise ArtifactError(path, f"{RECORD} is damaged: its checksum differs")
    if found_format != format:
        raise ArtifactError(path, f"is a {found_format!r}: expected a {format!r}")
    if not versions[0] <= found_version <= versions[1]:
        raise ArtifactError(
            path,
            f"is version {found_version} of {format!r}, written by {record.get('written_by')}; "
            f"this program reads version {versions[1]}: write it again",
        )
    files = {}
    for name, (size, sha256) in expected.items():
        if not _is_plain(name):
            raise ArtifactError(path, f"names a file {name!r} outside of itself")
        try:
            files[name] = reader.read(name, size)
        except (KeyError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ArtifactError(path, f"its file {name!r} is missing") from error
        if len(files[name]) != size or _sha256(files[name]) != sha256:
            raise ArtifactError(path, f"its file {name!r} is damaged: the checksum differs")
    return files


def _record(format: str, version: int, files: Mapping[str, bytes]) -> bytes:
    record = {
        "format": format,
        "version": version,
        "written_by": {"python": platform.python_version(), "numpy": np.__version__},
        "files": {n: {"bytes": len(data), "sha256": _sha256(data)} for n, data in files.items()},
    }
    return to_json({**record, "sha256": _sha256(to_json(record))})


def _zip(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            # A fixed date, so that equal contents are equal files.
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _is_plain(name: str) -> bool:
    """Whether a name stays inside: relative, without "..", and the same on every system."""
    path = PurePosixPath(name)
    return (
        name == str(path)
        and not path.is_absolute()
        and not set(path.parts) & {"..", "."}
        and not set(name) & set("\\:\0")
        and name != ""
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
