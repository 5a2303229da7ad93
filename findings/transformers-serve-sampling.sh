#!/usr/bin/env bash
# Guess: a server of OpenAI's chat protocol draws its answer at random where a request has temperature 1.
# transformers serve 5.23.0 does not, unless the model's own generation config (or the request's field generation_config)
# has do_sample: it keeps the temperature, decodes greedily, and answers 200 without a word. Every seed gives one answer.
# Seen with a randomly initialised two-layer Llama: four seeds at temperature 1 give one text; with do_sample in the
# request they give four. Fails if either changes.
set -euo pipefail
work=$(mktemp -d)
trap 'kill "${server:-0}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  'transformers[serving]==5.23.0' torch==2.13.0 fastapi==0.165.0 openai==3.57.0 accelerate==1.15.0 tokenizers==0.23.3
cat > "$work/model.py" <<'P'
import sys, torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
words = ["<unk>", "<end>", *"abcdefghijklmnopqrstuvwxyz"]
tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>", pad_token="<end>")
fast.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
torch.manual_seed(0)
config = LlamaConfig(vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                     num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128, eos_token_id=1)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
fast.save_pretrained(sys.argv[1])
P
cat > "$work/ask.py" <<'P'
import json, sys, time, urllib.request
port, model = sys.argv[1:]
def ask(seed, **more):
    body = {"model": model, "messages": [{"role": "user", "content": "a b c"}], "max_tokens": 12, "temperature": 1.0, "seed": seed, **more}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)["choices"][0]["message"]["content"]
for _ in range(240):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        break
    except OSError:
        time.sleep(1)
plain = {ask(seed) for seed in range(4)}
drawn = {ask(seed, generation_config=json.dumps({"do_sample": True, "eos_token_id": 1, "pad_token_id": 1})) for seed in range(4)}
print(f"temperature 1, four seeds: {len(plain)} different; with do_sample in the request: {len(drawn)} different")
sys.exit(not (len(plain) == 1 and len(drawn) > 1))
P
"$work/venv/bin/python" "$work/model.py" "$work/model" >/dev/null 2>&1
port=$("$work/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
HF_HUB_OFFLINE=1 "$work/venv/bin/transformers" serve "$work/model" --host 127.0.0.1 --port "$port" --device cpu >"$work/log" 2>&1 &
server=$!
"$work/venv/bin/python" "$work/ask.py" "$port" "$work/model"
