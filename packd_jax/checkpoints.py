"""Checkpoints: one directory with arrays and their meaning, written whole or not at all.

orbax writes the leaves by name (`params/Dense_0/kernel`) and, in `_CHECKPOINT_METADATA`, a JSON
record: the caller's `meta`, the table of leaves and a checksum. Anything that reads orbax reads
the leaves; those without a number (no element) are in the table alone, and numbers that NumPy
lacks (bfloat16) are stored as the unsigned integers of their bits. No pickle: a stranger's file
runs no code.

How a save replaces a checkpoint `D`, with helpers beside it:

1. orbax writes a temporary directory and renames it to `.D.checkpoint-new`: complete.
2. `D` is renamed to `.D.checkpoint-old`.
3. `.D.checkpoint-new` is renamed to `D`.
4. `.D.checkpoint-old` is deleted, and everything that an earlier kill left.

A process killed before 2 leaves the old `D`, and after 3 the new one. Killed between them it
leaves no `D`, but a complete `.D.checkpoint-new`: readers take it, and the next save finishes
step 3 first. This is about killed processes; nothing here forces disks to write before a
power cut. One process at a time writes a checkpoint, or all processes of a run together: each
writes its shards of arrays that lie on devices of several, and the first one renames.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from packd_jax import processes
from packd_jax.array_files import RECORD_FILE, described_arrays, read_arrays, write_arrays
from packd_jax.checksum import checksum
from packd_jax.json_files import plain_json
from packd_jax.named_leaves import (
    LeafDescription,
    LeafError,
    described_leaf,
    host_arrays,
    in_structure_of,
    is_global,
    nested_dict,
)

_ALONE = "value"  # the name in the files of a tree that is a single array
_FORMAT = "packd_jax checkpoint 2"


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read: which directory, and what is wrong."""

    def __init__(self, directory: str | os.PathLike, problem: str) -> None:
        super().__init__(f"{os.fspath(directory)}: {problem}")
        self.directory = os.fspath(directory)
        self.problem = problem


class CheckpointDescription(NamedTuple):
    """What a checkpoint holds, without the values of its arrays."""

    meta: dict[str, Any]
    leaves: tuple[LeafDescription, ...]  # in the order in which their values lie
    crc32: int  # checksum of all values


def save_checkpoint(directory: str | os.PathLike, tree: Any, meta: Mapping[str, Any]) -> None:
    """Saves a pytree of NumPy or JAX arrays and a JSON `meta`; replaces an older checkpoint.

    `meta` may hold NumPy scalars and arrays, tuples and NaN; they come back as JSON values.
    Raises CheckpointError for a leaf that is no array of numbers or booleans (typed PRNG keys
    included: save `jax.random.key_data(key)`), a tree without a single number, a `meta` that
    JSON cannot hold, and a directory that has something other than a checkpoint in it.
    """
    target = Path(directory).resolve()
    is_new = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if not is_new and not (target / RECORD_FILE).is_file():
        raise CheckpointError(target, "is no checkpoint; name a new directory to save in")
    try:
        arrays = host_arrays(tree)
        plain_meta = plain_json(meta, "meta")
    except (LeafError, TypeError) as error:
        raise CheckpointError(target, str(error)) from None
    stored = {path or _ALONE: _as_stored(a) for path, a in arrays.items() if a.size}
    if not stored:  # orbax refuses it, too
        raise CheckpointError(target, "the tree holds no numbers; expected an array at least")
    record = {
        "format": _FORMAT,
        "meta": plain_meta,
        "leaves": {path: [array.shape, array.dtype.name] for path, array in arrays.items()},
        "crc32": checksum(arrays),
    }

    new, old = _beside(target, "new"), _beside(target, "old")
    if processes.is_first():
        if new.exists() and not target.exists():
            os.rename(new, target)
        _remove_leftovers(target)
    processes.wait(f"save {target}")
    is_sharded = any(is_global(array) for array in arrays.values())
    if is_sharded or processes.is_first():
        write_arrays(new, stored, record, alone=not is_sharded)
    if processes.is_first():
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
        _remove_leftovers(target)
    processes.wait(f"saved {target}")


def restore_checkpoint(
    directory: str | os.PathLike, like: Any = None
) -> tuple[Any, dict[str, Any]]:
    """Reads a checkpoint as `(tree, meta)`, the arrays bit for bit as they were saved.

    Without `like` the tree is a nested dict of NumPy arrays: fields of dataclasses and named
    tuples become keys, and so do positions ("0", "1"); that needs no model code. With `like`,
    a pytree of arrays or `jax.ShapeDtypeStruct`, the tree has its structure; a leaf is a NumPy
    array where `like` has one, else a JAX array with the sharding of `like`.

    Raises CheckpointError if the checkpoint is missing or damaged, or does not fit `like`;
    then every missing or surplus leaf and every different shape or dtype is named.
    """
    target = _complete(directory)
    record = _read_record(target)
    try:
        stored = read_arrays(target, [leaf.path or _ALONE for leaf in record.leaves if leaf.size])
    except Exception as error:  # broken files raise nearly everything
        raise _damaged(target, f"its arrays cannot be read ({_first_line(error)})") from error
    _check_shapes(target, record, stored)
    arrays = {leaf.path: _as_saved(leaf, stored.get(leaf.path or _ALONE)) for leaf in record.leaves}
    if checksum(arrays) != record.crc32:
        raise _damaged(target, "its values differ from their checksum")
    if like is None:
        return nested_dict(arrays), record.meta
    try:
        return in_structure_of(like, arrays), record.meta
    except LeafError as error:
        raise CheckpointError(target, str(error)) from None


def describe_checkpoint(directory: str | os.PathLike) -> CheckpointDescription:
    """Meta and the paths, shapes, dtypes and bytes of the leaves, without reading the values.

    Raises CheckpointError if the checkpoint is missing or damaged, as far as that shows so.
    """
    target = _complete(directory)
    record = _read_record(target)
    try:
        stored = described_arrays(target)
    except Exception as error:  # as in restore_checkpoint
        raise _damaged(target, f"its arrays cannot be read ({_first_line(error)})") from error
    _check_shapes(target, record, stored)
    return record


def save_latest(
    directory: str | os.PathLike, step: int, tree: Any, meta: Mapping[str, Any]
) -> None:
    """Replaces the checkpoint `directory/latest`; `meta["step"]` becomes `step`.

    The one before stays until this one is complete. Raises CheckpointError as save_checkpoint.
    """
    save_checkpoint(Path(directory) / "latest", tree, {**meta, "step": int(step)})


def restore_latest(
    directory: str | os.PathLike, like: Any
) -> tuple[int, Any, dict[str, Any]] | None:
    """Reads what `save_latest` completed last as `(step, tree, meta)`; None if nothing was.

    Raises CheckpointError as restore_checkpoint.
    """
    latest = _latest(directory)
    if latest is None:
        return None
    tree, meta = restore_checkpoint(latest, like)
    return meta["step"], tree, meta


def describe_latest(directory: str | os.PathLike) -> CheckpointDescription | None:
    """As describe_checkpoint, of what `save_latest` completed last; None if nothing was."""
    latest = _latest(directory)
    return None if latest is None else describe_checkpoint(latest)


def _latest(directory: str | os.PathLike) -> Path | None:
    latest = (Path(directory) / "latest").resolve()
    return latest if latest.exists() or _beside(latest, "new").exists() else None


def _read_record(target: Path) -> CheckpointDescription:
    if not (target / RECORD_FILE).is_file():
        raise CheckpointError(target, f"is no checkpoint, or a damaged one: no {RECORD_FILE}")
    try:
        record = json.loads((target / RECORD_FILE).read_bytes())["custom_metadata"]
        form = record["format"]
        leaves = tuple(described_leaf(path, *stored) for path, stored in record["leaves"].items())
        found = CheckpointDescription(dict(record["meta"]), leaves, int(record["crc32"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"{RECORD_FILE} is not the record of a checkpoint ({_first_line(error)})"
        raise _damaged(target, problem) from error
    if form != _FORMAT:
        raise CheckpointError(target, f"has format {form!r}; expected {_FORMAT!r}")
    return found


def _check_shapes(target: Path, record: CheckpointDescription, stored: Mapping[str, Any]) -> None:
    expected = {leaf.path or _ALONE: leaf.shape for leaf in record.leaves if leaf.size}
    found = {path: tuple(array.shape) for path, array in stored.items()}
    for path in sorted(expected.keys() | found.keys()):
        have, want = found.get(path, "absent"), expected.get(path, "absent")
        if have != want:
            raise _damaged(target, f"leaf {path} is stored as {have}, its record says {want}")


def _as_stored(array: Any) -> Any:
    # Kind "V": a type that NumPy has from elsewhere, which files need not know.
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array


def _as_saved(leaf: LeafDescription, stored: Any) -> np.ndarray:
    if stored is None:
        return np.zeros(leaf.shape, leaf.dtype)
    dtype = np.dtype(leaf.dtype)
    array = np.asarray(stored)
    return array.view(dtype) if dtype.kind == "V" else array.astype(dtype, copy=False)


def _beside(target: Path, role: str) -> Path:
    return target.parent / f".{target.name}.checkpoint-{role}"


def _remove_leftovers(target: Path) -> None:
    prefix = _beside(target, "").name  # that of new, old, and orbax's temporaries
    if target.parent.is_dir():
        for path in target.parent.iterdir():
            if path.name.startswith(prefix):
                shutil.rmtree(path)


def _complete(directory: str | os.PathLike) -> Path:
    target = Path(directory).resolve()
    new = _beside(target, "new")
    if new.exists() and not target.exists():
        return new  # a save was killed between steps 2 and 3
    if not target.is_dir():
        given = "is a file" if target.exists() else "does not exist"
        raise CheckpointError(target, f"{given}; expected the directory of a checkpoint")
    return target


def _damaged(target: Path, problem: str) -> CheckpointError:
    return CheckpointError(target, f"damaged checkpoint: {problem}; use a copy or save it again")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
