"""Directories of named arrays, as orbax writes and reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import absl.logging
import numpy as np
import orbax.checkpoint as ocp

from packd_jax import processes

RECORD_FILE = "_CHECKPOINT_METADATA"  # orbax's name for the JSON beside the arrays


def write_arrays(
    directory: Path, arrays: Mapping[str, Any], record: Mapping[str, Any], alone: bool = False
) -> None:
    """Writes arrays by name, and a JSON `record` beside them; the directory appears whole.

    Of several processes all write together, each its shards; `alone`, the first one by itself.
    """
    with _checkpointer(alone) as writer:
        writer.save(directory, args=ocp.args.PyTreeSave(arrays), custom_metadata=record)


def read_arrays(directory: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of these names on the host, whatever devices they were written from.

    Raises what orbax does, which is nearly everything, for a directory that is damaged.
    """
    on_host = ocp.RestoreArgs(restore_type=np.ndarray)
    wanted = dict.fromkeys(names, on_host)
    with _checkpointer() as reader:
        return reader.restore(directory, args=ocp.args.PyTreeRestore(restore_args=wanted))


def described_arrays(directory: Path) -> Mapping[str, Any]:
    """Shape and dtype of each array by name, without its values. Raises as `read_arrays`."""
    with _checkpointer() as reader:
        return reader.handler.metadata(directory).tree


@contextmanager
def _checkpointer(alone: bool = False) -> Iterator[ocp.Checkpointer]:
    options = ocp.options.MultiprocessingOptions()
    if alone and processes.count() > 1:
        options = ocp.options.MultiprocessingOptions(
            active_processes={0}, barrier_sync_key_prefix="first"
        )
    # Programs made with absl.app show INFO, of which orbax has some twenty lines a save.
    logger = absl.logging.get_absl_logger()
    logger.addFilter(_is_no_orbax_info)
    try:
        # No compression: trained weights hardly compress.
        handler = ocp.PyTreeCheckpointHandler(
            use_compression=False, multiprocessing_options=options
        )
        with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
            yield checkpointer
    finally:
        logger.removeFilter(_is_no_orbax_info)


def _is_no_orbax_info(record: logging.LogRecord) -> bool:
    return record.levelno != logging.INFO or "orbax" not in record.pathname
