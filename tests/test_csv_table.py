from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_jax.csv_table import CsvTableError, column_texts, read_csv_table
from latency_jax.parameters import ParameterError

DATA = Path(__file__).parents[2] / "shared" / "data" / "latency"
CONV = {"batch_size": "b", "padding": "pad", "use_bias": "bias"}


def written(path, text):
    path = path / "data.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_numbers_booleans_and_categories(tmp_path):
    path = written(tmp_path, '\ufeffb, t ,name,on\n1,2.5,"x, y",True\n\n 3 ,.5e1,z,false\n')
    columns = {"batch": "b", "label": "name", "on": "on"}
    table = read_csv_table(path, "generic", columns, "t", "ms")
    assert table.columns["batch"].dtype == np.int64
    assert [c.tolist() for c in table.columns.values()] == [[1, 3], ["x, y", "z"], [True, False]]
    np.testing.assert_allclose(table.latency, [2.5e-3, 5e-3])


@pytest.mark.parametrize(("unit", "seconds"), [("s", 3.0), ("ms", 3e-3), ("us", 3e-6)])
def test_units_and_added_targets(tmp_path, unit, seconds):
    path = written(tmp_path, "x,t,u\n1,1,2\n")
    table = read_csv_table(path, "generic", {"x": "x"}, ["t", "u"], unit)
    np.testing.assert_allclose(table.latency, [seconds])


def test_values_and_filter(tmp_path):
    path = written(tmp_path, "b,pad,bias,dev,t\n4,1,True,A,1\n8,0,False,B,bad\n2,0,False,A,3\n")
    values = {"padding": {"1": "SAME", "0": "VALID"}}
    table = read_csv_table(path, "conv2d", CONV, "t", "s", where={"dev": "A"}, values=values)
    assert table.columns["padding"].tolist() == ["SAME", "VALID"]
    assert table.columns["use_bias"].tolist() == [True, False]
    assert table.latency.tolist() == [1, 3]


def test_codes_of_categories_stay_codes_when_no_values_are_given(tmp_path):
    path = written(tmp_path, "b,pad,bias,t\n4,1,1,1\n")
    table = read_csv_table(path, "conv2d", CONV, "t", "s")
    assert table.columns["padding"].tolist() == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: no header; expected the names"),
        ("b,pad,bias,tt\n", r"line 1: 0 columns 't'; .* did you mean 'tt'\?"),
        ("b,pad,bias,t,t\n", r"2 columns 't'; expected one among"),
        ("b,pad,bias,t\n", r"0 rows: none is left; expected rows with data"),
        ("b,pad,bias,t\n1,1,1,1\n2,1,1\n", r"line 3: 3 fields; expected 4"),
        ("b,pad,bias,t\n,1,1,1\n", r"line 2, column 'b': nothing; expected a number"),
        ("b,pad,bias,t\nnan,1,1,1\n", r"line 2, column 'b': nan; expected a finite number"),
        ("b,pad,bias,t\n1,1,1,-2\n", r"line 2, column 't': '-2'; expected a latency above 0"),
        ("b,pad,bias,t\n1,1,1,0\n", r"'0'; expected a latency above 0"),
        ("b,pad,bias,t\n1,1,1,slow\n", r"'slow'; expected a latency above 0"),
        ("b,pad,bias,t\n1,1,1,\n", r"column 't': nothing"),
        ("b,pad,bias,t\n1,1,1,1e999\n", r"'t': 1e999; expected a finite number"),
        ("b,pad,bias,t\n1_0,1,1,1\n", r"'b': '1_0'; expected a number for batch_size"),
        ("b,pad,bias,t\n1,full,1,1\n", r"'full'; expected padding as one of \('SAME', 'VALID'\)"),
        ("b,pad,bias,t\n1,1,1,1\n1,SAME,1,1\n", r"line 3.*'SAME'; expected a number, as in"),
        (b"b,pad,bias,t\n1,\xff,1,1\n", r"after line 0: .*expected text in UTF-8"),
        ('b,pad,bias,t\n1,"1"x,1,1\n', r"line 2: .*expected CSV"),
    ],
)
def test_errors_say_where_and_what(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(CsvTableError, match=message) as caught:
        read_csv_table(path, "conv2d", CONV, "t", "ms")
    assert str(path) in str(caught.value)


def test_line_numbers_count_lines_of_the_file(tmp_path):
    path = written(tmp_path, 'x,n,t\n1,"two\nlines",1\n\n1,a,zero\n')
    with pytest.raises(CsvTableError, match="line 5, column 't'"):
        read_csv_table(path, "generic", {"x": "x", "n": "n"}, "t", "ms")


def test_unknown_names(tmp_path):
    path = written(tmp_path, "b,t\n1,1\n")
    with pytest.raises(CsvTableError, match=r"'batchsize'.*did you mean 'batch_size'"):
        read_csv_table(path, "conv2d", {"batchsize": "b"}, "t", "ms")
    with pytest.raises(CsvTableError, match=r"values: unknown name 'pad'"):
        read_csv_table(path, "generic", {"b": "b"}, "t", "ms", values={"pad": {}})
    with pytest.raises(CsvTableError, match=r"'b': '1'; expected one of '2'"):
        read_csv_table(path, "generic", {"b": "b"}, "t", "ms", values={"b": {"2": "two"}})
    with pytest.raises(CsvTableError, match=r"1 rows: none is left; expected rows with b = '9'"):
        read_csv_table(path, "generic", {"b": "b"}, "t", "ms", where={"b": "9"})
    with pytest.raises(ParameterError, match=r"con2d.*conv2d"):
        read_csv_table(path, "con2d", {"batch_size": "b"}, "t", "ms")
    with pytest.raises(ValueError, match=r"unit = 'min': expected one of s, ms, us"):
        read_csv_table(path, "generic", {"b": "b"}, "t", "min")


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=9), st.data())
@settings(deadline=None, max_examples=30)
def test_written_numbers_are_read_back(tmp_path_factory, latencies, data):
    numbers = [data.draw(st.floats(allow_nan=False, allow_infinity=False)) for _ in latencies]
    lines = [f"{n!r},{t!r}" for n, t in zip(numbers, latencies)]
    path = written(tmp_path_factory.mktemp("csv"), "\n".join(["x,t", *lines]))
    table = read_csv_table(path, "generic", {"x": "x"}, "t", "s")
    assert table.columns["x"].tolist() == numbers
    assert table.latency.tolist() == latencies


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=200)
def test_any_bytes_give_a_table_or_a_clear_error(tmp_path_factory, data):
    path = written(tmp_path_factory.mktemp("csv"), b"x,t\n" + data)
    try:
        assert read_csv_table(path, "generic", {"x": "x"}, "t", "s").rows > 0
    except CsvTableError as error:
        assert "expected" in str(error)


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the repository")
def test_third_party_rows():
    table = read_csv_table(
        DATA / "neusight_linear_train.csv",
        "dense",
        {"batch_size": "M", "in_features": "K", "out_features": "N"},
        "latency_ms",
        "ms",
        where={"device": "NVIDIA A100-PCIE-40GB"},
    )
    assert table.rows == 6460
    assert [c[0] for c in table.columns.values()] == [58, 141, 13]
    np.testing.assert_allclose(table.latency[0], 0.054507e-3)


def test_texts_of_a_column(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("x,gpu\n1,b\n2, a \n3,b\n")
    assert column_texts(path, "gpu") == ["b", "a"]
    with pytest.raises(CsvTableError, match="0 columns 'gpus'"):
        column_texts(path, "gpus")
