import jax
import numpy as np
import pytest
import small_student

from packd_jax.config import ConfigError
from packd_jax.export import export_stablehlo


@pytest.fixture(scope="module")
def exported():
    pytest.importorskip("flatbuffers", reason="jax.export writes files with flatbuffers")
    student = small_student.float_student(depth=2)
    return student, jax.export.deserialize(bytearray(export_stablehlo(student)))


@pytest.mark.parametrize("rows", [1, 7])
def test_a_reloaded_student_says_what_it_said(exported, rows):
    student, reloaded = exported
    inputs = small_student.examples(student).take(slice(100, 100 + rows)).inputs
    found = np.asarray(reloaded.call(inputs))
    assert found.shape == (rows, student.features.label_bits) and found.dtype == np.float32
    logits = small_student.float_logits(student, inputs)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_it_is_for_every_platform_and_needs_tokens_of_its_kind(exported):
    student, reloaded = exported
    assert reloaded.platforms == ("cpu", "cuda", "tpu")
    assert "stablehlo" in reloaded.mlir_module()
    inputs = small_student.examples(student).take(slice(0, 2)).inputs
    with pytest.raises(ValueError):
        reloaded.call({**inputs, "offset": inputs["offset"].astype(np.int32)})


def test_without_flatbuffers_the_fix_is_said(monkeypatch):
    def refuse(exported):
        raise ImportError("flatbuffers")

    monkeypatch.setattr(jax.export.Exported, "serialize", refuse)
    with pytest.raises(ConfigError, match="pip install flatbuffers"):
        export_stablehlo(small_student.float_student())
