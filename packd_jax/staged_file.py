"""Files that are never half written: whole under another name first, and then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a path beside `path`, with the same suffix, to write to; renames it when all is done.

    Readers see the old file or the new one, also after a kill. Nothing is left after an error.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes UTF-8 and renames it into place; what is no character becomes an escape."""
    with staged(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
