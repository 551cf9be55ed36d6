import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from packd_jax.checkpoints import (
    CheckpointError,
    describe_checkpoint,
    restore_checkpoint,
    restore_latest,
    save_checkpoint,
    save_latest,
)


def _damage_every_file(directory: Path, damage):
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        if path.name != "commit_success.txt":  # orbax's note to file systems without rename
            copy = directory.parent / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(directory, copy)
            damage(copy / path.relative_to(directory))
            yield copy, path.relative_to(directory)


# orbax gives up at the first array that fails; reads of others then end behind its event loop.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"garbage{"),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    ],
    ids=["removed", "empty", "garbage", "half"],
)
def test_a_damaged_file_never_restores_other_values(tmp_path, damage):
    tree = {"a": np.arange(500.0), "b": np.arange(3, dtype=np.int32)}
    save_checkpoint(tmp_path / "c", tree, {"kind": "student"})
    refused = 0
    for copy, file in _damage_every_file(tmp_path / "c", damage):
        try:
            found, meta = restore_checkpoint(copy)
        except CheckpointError as error:
            assert str(copy) in str(error) and "damaged" in str(error)
            refused += 1
            continue
        # orbax keeps parts that reading does not need; nothing else may get this far.
        assert str(file).startswith("ocdbt.process_0")
        assert found["a"].tobytes() == tree["a"].tobytes()
        assert found["b"].tobytes() == tree["b"].tobytes()
        assert meta == {"kind": "student"}
    assert refused >= 4


@pytest.mark.parametrize("file", ["_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"])
@pytest.mark.parametrize("content", [None, b"", b"garbage{", b"[]", b'{"custom_metadata": {}}'])
def test_describe_finds_visible_damage(tmp_path, file, content):
    save_checkpoint(tmp_path / "c", {"a": np.arange(5.0)}, {})
    (tmp_path / "c" / file).unlink()
    if content is not None:
        (tmp_path / "c" / file).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        describe_checkpoint(tmp_path / "c")


def test_a_changed_value_fails_its_checksum(tmp_path):
    save_checkpoint(tmp_path / "c", {"a": np.full(100, 1.5)}, {})
    record = tmp_path / "c" / "_CHECKPOINT_METADATA"
    content = json.loads(record.read_text())
    content["custom_metadata"]["crc32"] ^= 1
    record.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="values differ from their checksum"):
        restore_checkpoint(tmp_path / "c")


def test_a_kill_between_the_renames_loses_nothing(tmp_path):
    save_latest(tmp_path, 1, {"a": np.ones(2)}, {})
    os.rename(tmp_path / "latest", tmp_path / ".latest.checkpoint-old")
    save_latest(tmp_path / "next", 2, {"a": np.ones(2)}, {})
    os.rename(tmp_path / "next" / "latest", tmp_path / ".latest.checkpoint-new")
    os.rmdir(tmp_path / "next")
    (tmp_path / ".latest.checkpoint-new.orbax-checkpoint-tmp").mkdir()

    assert restore_latest(tmp_path, {"a": np.ones(2)})[0] == 2
    with pytest.raises(CheckpointError, match="no numbers"):
        save_latest(tmp_path, 3, {}, {})
    assert restore_latest(tmp_path, {"a": np.ones(2)})[0] == 2
    save_latest(tmp_path, 4, {"a": np.ones(2)}, {})
    assert restore_latest(tmp_path, {"a": np.ones(2)})[0] == 4
    assert os.listdir(tmp_path) == ["latest"]


# Forks savers and kills them: one import of JAX serves all of them. After each kill the
# directory is copied, so that every state of it that a kill left is looked at.
_KILLER = """
import os, random, shutil, signal, sys, time
import numpy as np
from packd_jax.checkpoints import save_latest
directory, rounds = sys.argv[1], int(sys.argv[2])
random.seed(1)
for round in range(rounds):
    saver = os.fork()
    if saver == 0:
        for step in range(1_000 * round, 1_000 * round + 999):
            save_latest(directory + "/run", step, {"a": np.full(2_000, step)}, {"twice": 2 * step})
            with open(f"{directory}/saved_{round}", "a") as file:
                file.write(f"{step}\\n")
        os._exit(1)
    while not os.path.exists(f"{directory}/saved_{round}"):
        time.sleep(0.001)
    time.sleep(random.uniform(0.0, 0.15))
    os.kill(saver, signal.SIGKILL)
    assert os.waitpid(saver, 0)[1] == signal.SIGKILL
    shutil.copytree(directory + "/run", f"{directory}/left_{round}")
"""


def test_sigkill_leaves_the_last_save_or_the_one_under_way(tmp_path):
    rounds = 10
    subprocess.run([sys.executable, "-c", _KILLER, tmp_path, str(rounds)], check=True, timeout=60)
    leftovers = 0
    for number in range(rounds):
        saved = [int(line) for line in (tmp_path / f"saved_{number}").read_text().splitlines()]
        left = tmp_path / f"left_{number}"
        leftovers += os.listdir(left) != ["latest"]
        step, tree, meta = restore_latest(left, {"a": np.zeros(2_000, np.int64)})
        assert step in (saved[-1], saved[-1] + 1)
        np.testing.assert_array_equal(tree["a"], np.full(2_000, step))
        assert meta == {"twice": 2 * step, "step": step}
        save_latest(left, 0, tree, {})
        assert os.listdir(left) == ["latest"]
    assert leftovers > 0, "no kill hit a save: the test has tested nothing"
