"""What a command reads and writes, traced by Valgrind's lackey while it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from packd_jax.config import ConfigError
from packd_jax.traces.load_trace import TraceError

INSTALL = "install Valgrind (apt install valgrind, dnf install valgrind; https://valgrind.org)"
_CHUNK_BYTES = 1 << 20
_DYNAMIC = 3  # e_type of ELF files that are loaded anywhere


class Region(NamedTuple):
    """The part of a run that is traced.

    It begins when the instruction at `begin` first runs and ends when that at `end` next does:
    symbols of the program, or hexadecimal addresses; empty for the beginning and the end of the
    run. Of its lines of lackey's text [skip_lines, stop_lines) are kept.
    """

    begin: str = ""
    end: str = ""
    skip_lines: int = 0
    stop_lines: int | None = None


WHOLE_RUN = Region()


def capture(command: Sequence[str], region: Region = WHOLE_RUN) -> Iterator[bytes]:
    """Runs a command under lackey and gives lackey's text of the region, piece by piece.

    The command's own input and output stay as they are. It is ended with the region, or when the
    iterator is closed. Raises ConfigError where Valgrind, the command or a symbol is not found,
    TraceError where the region never begins or the command cannot be traced.
    """
    valgrind, program = shutil.which("valgrind"), shutil.which(command[0])
    if valgrind is None:
        raise ConfigError(f"valgrind is not on PATH: {INSTALL}")
    if program is None:
        raise ConfigError(f"{command[0]}: expected a program that can be run")
    marks = [address_of(program, place) for place in (region.begin, region.end)]
    reader, writer = os.pipe()
    lackey = [valgrind, "--tool=lackey", "--trace-mem=yes", "--basic-counts=no"]
    process = subprocess.Popen(
        [*lackey, f"--log-fd={writer}", "--", program, *command[1:]], pass_fds=[writer]
    )
    os.close(writer)
    try:
        with open(reader, "rb") as file:
            file.peek(1)  # by then the program has been loaded
            base = load_address(process.pid, program)
            begin, end = (None if m is None else m.at(base) for m in marks)
            yield from _lines(_region(_chunks(file), begin, end, program), region)
    finally:
        process.terminate()
        process.wait()


class Place(NamedTuple):
    """An address in a program."""

    address: int
    is_relative: bool  # to where the program is loaded

    def at(self, base: int) -> bytes:
        """How lackey's line of that instruction begins."""
        return b"I  %08x," % (self.address + (base if self.is_relative else 0))


def address_of(program: str | os.PathLike, place: str) -> Place | None:
    """The place of a symbol of a program, or of a hexadecimal address as it runs; None for "".

    Raises ConfigError for a symbol that the program does not have.
    """
    if not place:
        return None
    if place.lower().startswith("0x"):
        try:
            return Place(int(place, 16), False)
        except ValueError:
            raise ConfigError(f"{place!r}: expected a hexadecimal address") from None
    if shutil.which("nm") is None:
        raise ConfigError(f"{place}: symbols need nm (binutils) on PATH; or give an address, 0x...")
    listed = subprocess.run(["nm", "--defined-only", program], capture_output=True, text=True)
    symbols = [line.split() for line in listed.stdout.splitlines()]
    found = [int(s[0], 16) for s in symbols if len(s) == 3 and s[2] == place and s[1] in "tTwW"]
    if not found:
        raise ConfigError(
            f"{os.fspath(program)} has no function {place!r}; expected one of its symbols (nm "
            "lists them; compile with -g, do not strip), or an address, 0x..."
        )
    return Place(found[0], _elf_type(program) == _DYNAMIC)


def load_address(pid: int, program: str | os.PathLike) -> int:
    """Where a running program lies, as the kernel says; 0 where it does not."""
    path = os.path.realpath(program)
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return 0
    starts = [line for line in lines if line.endswith(path) and line.split()[2] == "00000000"]
    return int(starts[0].partition("-")[0], 16) if starts else 0


def _elf_type(program: str | os.PathLike) -> int:
    with open(program, "rb") as file:
        return int.from_bytes(file.read(18)[16:], "little")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, about a megabyte at a time."""
    rest = b""
    while chunk := file.read(_CHUNK_BYTES):
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        yield lines + newline
    yield rest


def _region(
    chunks: Iterable[bytes], begin: bytes | None, end: bytes | None, program: str
) -> Iterator[bytes]:
    is_inside = begin is None
    for chunk in chunks:
        if begin is not None and not is_inside:
            at = chunk.find(begin)
            if at < 0:
                continue
            chunk, is_inside = chunk[at:], True
        after = -1 if end is None else chunk.find(end)
        if after >= 0:
            yield chunk[:after]
            return
        yield chunk
    if not is_inside:
        given = f"the instruction at {begin!r} never ran"
        raise TraceError(program, "the whole run", given, "a function that is called")


def _lines(chunks: Iterable[bytes], region: Region) -> Iterator[bytes]:
    """Lines [skip_lines, stop_lines) of pieces that are whole lines."""
    skip, stop = region.skip_lines, region.stop_lines
    first = 0  # line of the chunk
    for chunk in chunks:
        count = chunk.count(b"\n")
        if skip > first or (stop is not None and stop < first + count):
            lines = chunk.splitlines(keepends=True)
            last = None if stop is None else max(stop - first, 0)
            chunk = b"".join(lines[max(skip - first, 0) : last])
        yield chunk
        first += count
        if stop is not None and first >= stop:
            return
