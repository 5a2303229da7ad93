#!/usr/bin/env bash
# Guess: a log of Inspect (.eval) is a ZIP file, so the standard library reads it, in any process alike.
# Inspect 0.3.285 packs the members with Zstandard (method 93), which zipfile knows from Python 3.14 on. Importing Inspect
# changes zipfile itself for the whole process, so code that was tried beside it works: the same three lines in a process
# without that import open the file, list its members, and end in NotImplementedError at the first read. Seen with an
# evaluation of two samples by the model that Inspect brings for tests. Fails if either changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check inspect-ai==0.3.285
cat > "$work/read.py" <<'P'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as packed:
    methods = sorted({member.compress_type for member in packed.infolist()})
    try:
        packed.read("header.json")
        seen = "read"
    except NotImplementedError as error:
        seen = f"NotImplementedError: {error}"
print(methods, seen)
P
cat > "$work/look.py" <<'P'
import subprocess, sys
from pathlib import Path
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match
here = Path(__file__).parent
task = Task(dataset=[Sample(input="1+1", target="2"), Sample(input="1+2", target="3")], scorer=match())
log = eval(task, model="mockllm/model", log_dir=str(here / "logs"), display="none")[0].location.removeprefix("file://")
def read(*before):
    code = "; ".join([*before, "import runpy, sys", f"sys.argv = ['read', {log!r}]", f"runpy.run_path({str(here / 'read.py')!r})"])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
alone, beside = read(), read("import inspect_ai.log")
print(f"Python {sys.version.split()[0]}\nzipfile alone: {alone}\nafter importing Inspect: {beside}")
expected = "[93] read" if sys.version_info >= (3, 14) else "[93] NotImplementedError"
sys.exit(not (alone.startswith(expected) and beside == "[93] read"))
P
"$work/venv/bin/python" "$work/look.py"
