import numpy as np

from packd_jax.export.c_constants import constant_array

NAMES = {"p": "bfs", "P": "BFS"}


def test_vectors_and_matrices():
    values = np.array([[1, -2], [3, 127]], np.int8)
    expected = (
        "\nBFS_ALIGNED static const int8_t bfs_kernel[2][2] = {\n  {1, -2},\n  {3, 127}\n};\n"
    )
    assert constant_array(NAMES, "kernel", values) == expected
    expected = "\nBFS_ALIGNED static const int8_t bfs_bias[2] = {\n  1, -2\n};\n"
    assert constant_array(NAMES, "bias", values[0]) == expected


def test_literals_are_of_the_arrays_type():
    largest = {t: np.array([0, np.iinfo(t).max], t) for t in (np.uint16, np.uint32, np.uint64)}
    texts = [constant_array(NAMES, "pc", values) for values in largest.values()]
    assert "uint16_t bfs_pc[2] = {\n  0, 65535\n" in texts[0]
    assert "uint32_t bfs_pc[2] = {\n  UINT32_C(0), UINT32_C(4294967295)\n" in texts[1]
    assert "uint64_t bfs_pc[2] = {\n  UINT64_C(0), UINT64_C(18446744073709551615)\n" in texts[2]


def test_lines_are_of_100_columns_at_most():
    text = constant_array(NAMES, "kernel", np.full((2, 200), 1, np.int8))
    assert 98 <= max(map(len, text.splitlines())) <= 100
    assert text.count("1") == 400 and text.count("{") == 3
