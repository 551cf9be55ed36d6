import pytest

from packd_jax.benchmarks.export import export
from packd_jax.benchmarks.scales import SMOKE
from packd_jax.export import find_compiler


def test_headers_are_timed_beside_jax():
    if find_compiler() is None:
        pytest.skip("no C compiler here (gcc, clang, or CC=PATH)")
    lines = list(export(SMOKE, 2))
    assert [line.name for line in lines[:3]] == [
        "export 4 wide, int8 C header",
        "export 4 wide, int4 C header",
        "export 4 wide, fp32 JAX, batch 1",
    ]
    assert len(lines) == 6 and all(line.unit == "ns/access" and line.median > 0 for line in lines)
    assert lines[0].against == "fp32 JAX, batch 1" and lines[0].ratio > 0


def test_without_a_compiler_jax_alone_is_timed(monkeypatch):
    monkeypatch.setattr("packd_jax.benchmarks.export.find_compiler", lambda: None)
    line = next(export(SMOKE, 1))
    assert line.name == "export 4 wide, fp32 JAX, batch 1" and line.median > 0
