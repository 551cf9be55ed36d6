"""The command: pages out of results.json, and mistakes in a line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_prefetch_report import result
from test_report import Page

ROOT = Path(__file__).parent.parent
ARGUMENTS = {  # name: (arguments, what stderr says)
    "no flag": ([], "flag --results=None: Flag --results must have a value other than None."),
    "no file": (["--results="], "--results: no file given; expected results.json of"),
    "a word": (["--results=good.json", "x"], "arguments ['x']: expected flags only, like"),
    "absent": (["--results=good.json,absent"], "absent: No such file or directory; expected a"),
    "folder": (["--results=."], ".: Is a directory; expected a results.json"),
    "out": (["--results=good.json", "--out=good.json/a.html"], "--out=good.json/a.html: "),
}
FILES = {  # name: (content, what is said of it)
    "empty": ("", "no JSON: Expecting value: line 1 column 1 (char 0)"),
    "cut": (json.dumps(result())[:-9], "no JSON: Unterminated string"),
    "deep": ("[" * 100_000, "no JSON: "),
    "binary": ("\udcff", "no JSON: "),
    "list": ([1], "content = [1]; expected an object"),
    "study": ({"rows": [], "config": {}}, "trace = null; expected the path of a trace"),
    "machine": (result(machine=[]), "machine = []; expected an object"),
    "latency": (
        result(machine={"inference_cycles": -1}),
        "machine.inference_cycles = -1; expected a whole number",
    ),
    "start": (result(from_instr=1.5), "from_instr = 1.5; expected a whole number"),
    "no rows": (result(rows=[]), "rows' names = []; expected none among them"),
    "row": (result(rows=[3]), "rows[0] = 3; expected an object"),
}
ROWS = {  # field: (value of the second row, what is said of it)
    "name": ("a\nb", 'name = "a\\nb"; expected 1 to 60 printable characters'),
    "bytes": (-1, "bytes = -1; expected a whole number, 0 or more"),
    "useful": (True, "useful = true; expected a whole number"),
    "issued": (None, "issued = null; expected a whole number"),
    "est_cycles": (0, "est_cycles = 0; expected 1 or more"),
    "inference_cycles": ("0", 'inference_cycles = "0"; expected a whole number'),
    "accuracy": (float("nan"), "accuracy = NaN; expected a number, 0 or more"),
    "mpki": (float("inf"), "mpki = Infinity; expected a number"),
    "lateness": ([], "lateness = []; expected 1 to 64 whole numbers"),
    "timeliness": ([0.5] * 64, "timeliness = [0.5, 0.5, "),
}
RUN_ALL = """
import contextlib, io, json, sys
from absl import flags
from absl.testing import flagsaver
from experiments import command_line, prefetch_report

def run(arguments):
    sys.argv = ["prefetch_report", *arguments]
    try:
        return command_line._call(prefetch_report.main, command_line._parse(sys.argv))
    except SystemExit as ended:
        return ended.code

ended = {}
for name, arguments in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with flagsaver.flagsaver(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        flags.FLAGS.unparse_flags()
        status = run(arguments)
    ended[name] = status, out.getvalue(), err.getvalue()
print(json.dumps(ended))
"""


def damaged(field):
    found = result()
    found["rows"][1][field] = ROWS[field][0]
    return found


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Folder of the commands, and name -> exit status, stdout and stderr."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "good.json").write_text(json.dumps(result()))
    (folder / "other.json").write_text(json.dumps(result("cc.txt")))
    files = {name: content for name, (content, _) in FILES.items()}
    for name, content in (files | {field: damaged(field) for field in ROWS}).items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    commands = {name: given for name, (given, _) in ARGUMENTS.items()}
    commands |= {name: [f"--results={name}", "--out=kept.html"] for name in [*FILES, *ROWS]}
    commands["pages"] = ["--results=good.json,other.json", "--out=new/page.html"]
    (folder / "kept.html").write_text("as before")
    (folder / "run_all.py").write_text(RUN_ALL)
    done = subprocess.run(
        [sys.executable, "run_all.py", json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("name", [*ARGUMENTS, *FILES, *ROWS])
def test_mistakes_are_said_in_a_line(ended, name):
    status, out, err = ended[1][name]
    if name in ARGUMENTS:
        said = ARGUMENTS[name][1]
    else:
        said = f"{name}: " + (FILES[name][1] if name in FILES else f"rows[1].{ROWS[name][1]}")
    # Line ends within a value are shown as spaces.
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("prefetch_report: " + " ".join(said.replace("\\n", " ").split()))


def test_a_page_of_two_traces(ended):
    folder, found = ended
    assert found["pages"] == [0, "new/page.html\n", ""]
    page = Page((folder / "new" / "page.html").read_text())
    assert page.row("stride") == ["stride", "1,984", "1.600", "1.600", "1.600"]
    assert "cc" in page.row("prefetcher", "bytes", "bfs")


def test_pages_are_left_as_they_were(ended):
    folder, _ = ended
    assert (folder / "kept.html").read_text() == "as before"
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []
