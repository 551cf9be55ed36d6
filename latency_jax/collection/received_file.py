"""The copy of a dataset that grows while another machine measures it."""

from __future__ import annotations

import os
from pathlib import Path

from latency_jax.collection.dataset_file import FILE, read_lines, take_file


class ReceivedFile:
    """`DIR/measurements.jsonl`, to be made longer by the lines that a collector has written.

    `data` is what was there: the whole lines, for the collector to go on from. The file is locked
    until `close`. Raises DatasetError as `read_lines` does for damage, and where another process
    has the file.
    """

    def __init__(self, directory: str | os.PathLike) -> None:
        self.path = Path(directory) / FILE
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab", buffering=0)
        try:
            end = take_file(self._file, self.path)
            if end:
                read_lines(self.path)
            self._file.truncate(end)
            self.data = self.path.read_bytes()
        except BaseException:
            self._file.close()
            raise

    def append(self, lines: bytes) -> None:
        """Adds whole lines, which then outlive a power failure."""
        rest = memoryview(lines)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> ReceivedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
