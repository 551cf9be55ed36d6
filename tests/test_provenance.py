import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from packd_jax import provenance as module
from packd_jax.provenance import provenance


def test_facts_are_those_of_this_process():
    facts = provenance()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["versions"]["jax"] == jax.__version__
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["backend"] == "cpu" and facts["device_count"] == 2
    assert facts["cpu_cores"] == os.cpu_count()


def test_commit_is_that_of_the_checkout_that_tracks_the_file(tmp_path):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    file = tmp_path / "__init__.py"
    file.write_text("")
    assert module._git_commit(file) is None  # lies in a checkout that does not track it
    git("add", file.name)
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").strip()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert module._git_commit(file) == commit
    file.write_text("changed")
    assert module._git_commit(file) == f"{commit}-dirty"


def test_absence_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert module._git_commit(tmp_path / "__init__.py") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module._git_commit(tmp_path / "__init__.py") is None
    assert module._version("no-such-distribution") is None


@pytest.mark.parametrize(
    ("text", "model"),
    [("flags: x\nmodel name\t: AMD EPYC 7B13\nmodel name : b\n", "AMD EPYC 7B13")],
)
def test_cpu_model_is_the_first_named(tmp_path, text, model):
    (tmp_path / "cpuinfo").write_text(text)
    assert module._cpu_model(tmp_path / "cpuinfo") == model
