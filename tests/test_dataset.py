import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_jax.collection.dataset import (
    describe,
    read_dataset,
    read_datasets,
    repeatability,
    summary,
)
from latency_jax.collection.dataset_file import FILE, FORMAT, DatasetError, DatasetWriter
from latency_jax.collection.schedule import rounds
from latency_jax.config import CollectConfig, ConditionsConfig
from packd_jax.config import to_json_dict

ENVIRONMENT = {"id": "0123456789ab", "threads": 2, "cpu_model": "some", "load_average": [1.0]}
CONFIG = CollectConfig(
    kinds=("dense", "max_pool"),
    conditions=ConditionsConfig(cpu_utilization="0,0.5", memory_pressure="0.25"),
    configurations=32,
)


def make_rows():
    """Rows as a collection writes them: four of each kind, the first two of them twice."""
    jobs = [job for jobs in rounds(CONFIG) for job in jobs if job.number % 8 == 0]
    rows = [_row(job, 1e-3 * (i + 1), i) for i, job in enumerate(jobs)]
    again = [job._replace(repeat=1) for job in jobs if job.number < 16]
    factors = (1.05, 1.2, 0.95, 0.8)
    for factor, job in zip(factors, again):
        first_s = rows[jobs.index(job._replace(repeat=0))]["latency_s"]
        rows.append(_row(job, first_s * factor, len(rows) + 600))
    rows.append({**_row(jobs[0]._replace(number=9), 1.0, 700), "error": "ValueError: no"})
    return rows


def _row(job, latency_s, moment):
    return {
        "number": job.number,
        "repeat": job.repeat,
        "config": job.config.to_json(),
        "spent_s": moment + 1.5,
        "latency_s": latency_s,
        "load": [job.load.cpu_utilization * 0.9, 0.2 + 0.001 * job.number],
        "start_s": [1e9 + moment, 1e9 + moment + 0.5],
        "sentinel_s": [1e-3, 1.1e-3],
        "repetitions_s": [[latency_s, 1.1 * latency_s], [latency_s]],
    }


ROWS = make_rows()


def write(directory, rows=ROWS, environment=ENVIRONMENT, config=CONFIG):
    with DatasetWriter(directory, environment, to_json_dict(config)) as writer:
        for row in rows:
            writer.append(row)
        return writer.rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    write(directory)
    return (directory / FILE).read_bytes()


def test_tables_hold_what_was_measured(tmp_path):
    write(tmp_path)
    dataset = read_dataset(tmp_path)
    assert dataset.environment == ENVIRONMENT and dataset.config == to_json_dict(CONFIG)
    assert list(dataset.tables) == ["dense", "max_pool"]
    firsts = [row for row in ROWS if not row["repeat"] and "error" not in row]
    for kind, table in dataset.tables.items():
        rows = [row for row in firsts if row["config"]["kind"] == kind]
        assert table.kind == kind and table.rows == 4
        np.testing.assert_array_equal(table.latency, [row["latency_s"] for row in rows])
        values = [{**r["config"]["parameters"], **r["config"]["conditions"]} for r in rows]
        assert table.columns.keys() == values[0].keys()
        assert {v["cpu_utilization"] for v in values} == {0.0, 0.5}
        for name in values[0]:
            assert table.columns[name].tolist() == [v[name] for v in values]
    assert dataset.tables["dense"].columns["use_bias"].dtype == np.bool_
    assert dataset.tables["dense"].columns["batch_size"].dtype == np.int64


def test_pairs_give_the_repeatability(tmp_path):
    write(tmp_path)
    dataset = read_dataset(tmp_path)
    np.testing.assert_allclose(
        dataset.pairs_s[:, 1] / dataset.pairs_s[:, 0], [1.05, 1.2, 0.95, 0.8]
    )
    assert dataset.repeatability == 0.5
    np.testing.assert_allclose(dataset.gaps_s, [607.5, 607.5, 606.5, 606.5])
    assert dataset.sentinel.shape == (24, 2) and dataset.drift == pytest.approx(0.05 / 1.05)
    assert len(dataset.failures) == 1 and "ValueError: no" in dataset.failures[0]
    assert dataset.spent_s == 701.5 and dataset.rate == pytest.approx(60 * 12 / 701.5)
    json.dumps(summary(dataset), allow_nan=False)
    text = describe(dataset)
    assert dataset.loads.shape == (12, 2, 2)
    assert set(map(tuple, dataset.loads[:, 0])) == {(0.0, 0.0), (0.5, 0.45)}
    assert "cpu_utilization achieved beside the modules: 0.00 of 0, 0.45 of 0.5" in text
    assert "50% of 4 pairs" in text and "10.1 minutes" in text and "1 could not be" in text


def test_without_pairs_repeatability_is_unknown(tmp_path):
    write(tmp_path, ROWS[:5])
    dataset = read_dataset(tmp_path)
    assert dataset.repeatability is None and dataset.pairs_s.shape == (0, 2)
    assert "unknown" in describe(dataset) and summary(dataset)["shortest_gap_s"] is None


def test_repeatability_counts_seconds_near_the_first():
    pairs = np.array([[1.0, 1.09], [1.0, 1.11], [1.0, 0.91], [1.0, 0.89], [2.0, 2.19]])
    assert repeatability(pairs) == pytest.approx(3 / 5)
    assert repeatability(np.zeros((0, 2))) is None


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_kill_at_any_byte_loses_no_whole_line_and_doubles_none(whole, tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("cut")
    cut = data.draw(st.integers(0, len(whole)))
    (directory / FILE).write_bytes(whole[:cut])
    kept = max(whole[:cut].count(b"\n") - 1, 0)
    measured = sum("error" not in row for row in ROWS[:kept])
    if measured:
        tables = read_dataset(directory).tables.values()
        assert sum(t.rows for t in tables) == min(measured, 8)
        assert (directory / FILE).read_bytes() == whole[:cut]
    else:
        with pytest.raises(DatasetError, match=r"measurement yet|starts no dataset"):
            read_dataset(directory)
    assert write(directory, ROWS[kept:]) == json.loads(json.dumps(ROWS[:kept]))
    assert (directory / FILE).read_bytes() == whole


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_is_noticed(whole, tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("mutated")
    place = data.draw(st.integers(0, len(whole) - 2))  # without its end, the last line is torn
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != whole[place]))
    changed = whole[:place] + bytes([byte]) + whole[place + 1 :]
    (directory / FILE).write_bytes(changed)
    line = whole[:place].count(b"\n") + 1
    for read in (read_dataset, write):
        with pytest.raises(DatasetError, match=rf"{FILE}: line {line}: "):
            read(directory)
        assert (directory / FILE).read_bytes() == changed


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_lines_left_out_doubled_or_moved_are_noticed(whole, tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("lines")
    lines = whole.splitlines(keepends=True)
    at = data.draw(st.integers(1, len(lines) - 2))
    change = data.draw(st.sampled_from(["left out", "doubled", "moved"]))
    middle = {"left out": [], "doubled": [lines[at]] * 2, "moved": [lines[at + 1], lines[at]]}
    rest = lines[at + (2 if change == "moved" else 1) :]
    (directory / FILE).write_bytes(b"".join(lines[:at] + middle[change] + rest))
    with pytest.raises(DatasetError, match=rf"line {at + 1 + (change == 'doubled')}: its checksum"):
        read_dataset(directory)


@pytest.mark.parametrize(
    "foreign",
    [b"a,b\n1,2\n", b'{"a": 1}\n', b"\x00\xff\n\xfe", b"\n", b"no end", b"[" * 99 + b"\n"],
)
def test_foreign_files_are_refused_and_left_alone(tmp_path, foreign):
    (tmp_path / FILE).write_bytes(foreign)
    for read in (read_dataset, write):
        with pytest.raises(DatasetError, match=rf"{FILE}: line 1: "):
            read(tmp_path)
    assert (tmp_path / FILE).read_bytes() == foreign


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere.*no such file.*collect_latency"):
        read_dataset(tmp_path / "nowhere")
    write(tmp_path, [])
    with pytest.raises(DatasetError, match="no measurement yet"):
        read_dataset(tmp_path)


def test_other_versions_are_named(tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        context.setitem(FORMAT, "version", 2)
        write(tmp_path)
    with pytest.raises(DatasetError, match=r"line 1: version 2 of .*reads version 1"):
        read_dataset(tmp_path)


def test_rows_of_something_else_are_refused(tmp_path):
    rows = [{**ROWS[0], "config": {"kind": 3}}, {**ROWS[0], "latency_s": "long"}, {"number": 1}]
    for number, row in enumerate(rows):
        directory = tmp_path / str(number)
        write(directory, [ROWS[0], row])
        with pytest.raises(DatasetError, match="line 3: is none of this program's"):
            read_dataset(directory)


def test_one_environment_and_one_configuration_each(tmp_path):
    write(tmp_path, ROWS[:3])
    before = (tmp_path / FILE).read_bytes()
    other = {**ENVIRONMENT, "id": "ba9876543210", "threads": 1, "load_average": [7.0]}
    with pytest.raises(
        DatasetError, match=r"0123456789ab.*this is ba98.*: threads was 2 and is 1;"
    ):
        write(tmp_path, environment=other)
    with pytest.raises(DatasetError, match=r"another configuration: seed was 0 and is 5;"):
        write(tmp_path, config=CollectConfig(**{**vars(CONFIG), "seed": 5}))
    assert (tmp_path / FILE).read_bytes() == before
    longer = CollectConfig(**{**vars(CONFIG), "minutes": 99.0, "configurations": 77})
    assert write(tmp_path, ROWS[3:4], {**ENVIRONMENT, "load_average": [0.0]}, longer) == ROWS[:3]
    assert read_dataset(tmp_path).config["minutes"] == CONFIG.minutes


def test_two_writers_at_once_are_refused(tmp_path):
    with (
        DatasetWriter(tmp_path, ENVIRONMENT, to_json_dict(CONFIG)),
        pytest.raises(DatasetError, match="another process is collecting"),
    ):
        write(tmp_path)
    assert write(tmp_path, ROWS[:1]) == []


def test_rows_outlive_the_process_at_once(tmp_path):
    with DatasetWriter(tmp_path, ENVIRONMENT, to_json_dict(CONFIG)) as writer:
        for count, row in zip(itertools.count(2), ROWS):
            writer.append(row)
            assert (tmp_path / FILE).read_bytes().count(b"\n") == count


def test_collections_of_one_machine_are_read_as_one(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", [row for row in ROWS if row["config"]["kind"] == "dense"])
    one, other = read_dataset(tmp_path / "a"), read_dataset(tmp_path / "b")
    both = read_datasets([tmp_path / "a", tmp_path / "b"])
    assert {k: t.rows for k, t in both.tables.items()} == {"dense": 8, "max_pool": 4}
    latency = np.concatenate([one.tables["dense"].latency, other.tables["dense"].latency])
    np.testing.assert_array_equal(both.tables["dense"].latency, latency)
    np.testing.assert_array_equal(both.pairs_s, np.concatenate([one.pairs_s, other.pairs_s]))
    assert both.repeatability == repeatability(both.pairs_s)
    assert both.spent_s == one.spent_s + other.spent_s
    assert both.config["kinds"] == ["dense", "max_pool"]


def test_collections_of_two_machines_are_not(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", environment={**ENVIRONMENT, "id": "ba9876543210"})
    with pytest.raises(DatasetError, match=r"b: its environment is ba9876543210.*one machine"):
        read_datasets([tmp_path / "a", tmp_path / "b"])


def test_collections_of_other_numbers_of_windows_go_together_by_a_quantile(tmp_path):
    for name, windows in (("a", 8), ("b", 16)):
        measuring = {"repetition_quantile": 0.0, "window_quantile": 0.0, "max_windows": windows}
        config = {**to_json_dict(CONFIG), "measuring": measuring}
        with DatasetWriter(tmp_path / name, ENVIRONMENT, config) as writer:
            for row in ROWS:
                writer.append(row)
    directories = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(DatasetError, match=r"b: its measuring is .*16"):
        read_datasets(directories)
    assert read_datasets(directories, 0.5).tables["dense"].rows == 8


def test_another_quantile_of_the_windows_is_read_from_the_repetitions(tmp_path):
    measuring = {"repetition_quantile": 0.0, "window_quantile": 1.0}
    rows = [
        {**row, "latency_s": 9.0, "repetitions_s": [[5.0, 4.0], [3.0, 2.0], [1.5, 7.0]]}
        for row in ROWS
    ]
    config = {**to_json_dict(CONFIG), "measuring": measuring}
    with DatasetWriter(tmp_path, ENVIRONMENT, config) as writer:
        for row in rows:
            writer.append(row)
    assert set(read_dataset(tmp_path).tables["dense"].latency) == {9.0}
    for quantile, expected in ((0.0, 1.5), (0.5, 2.0), (0.25, 1.75)):
        again = read_dataset(tmp_path, quantile)
        assert set(again.tables["dense"].latency) == {expected}
        assert again.config["measuring"]["window_quantile"] == quantile
        assert again.pairs_s.tolist() == [[expected, expected]] * 4
