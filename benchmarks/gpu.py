"""How fast and how large a student trains on this machine's GPU, against a matrix product and against Hugging Face Trainer, in one run.

    python benchmarks/gpu.py                            GPT-2 small, bf16, batches of 64, rows as long as CommonsenseQA's
    python benchmarks/gpu.py --data FOLDER              the same with CommonsenseQA's own text (train.jsonl.gz, with rationales)
    python benchmarks/gpu.py --compile --batch 128      torch.compile as well, other batches
    python benchmarks/gpu.py --device cpu --small       the same path in a minute on a CPU; its figures say nothing

Needs torch (2.11 or newer), transformers, tokenizers, safetensors and this repository's compute floors; accelerate for Trainer's part and pytest for
the GPU tests, both left out with a word where they are missing. Prints one line a figure, and all of them as JSON at the end.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from cotdistill.config import TrainingConfig  # noqa: E402
from cotdistill.rationales.conditions import parse  # noqa: E402
from cotdistill.saliency.probe import StudentQueries  # noqa: E402
from cotdistill.saliency.targets import Query  # noqa: E402
from cotdistill.students.batches import Row, Stream, weighted  # noqa: E402
from cotdistill.students.loading import prepare_torch  # noqa: E402
from cotdistill.students.memory import Load, estimate, of_config  # noqa: E402
from cotdistill.students.reader import Forward  # noqa: E402
from cotdistill.students.scoring.evaluation import choice_scores  # noqa: E402
from cotdistill.students.scoring.generation import greedy  # noqa: E402
from cotdistill.students.tokens import LABEL, RATIONALE, Encoder  # noqa: E402
from cotdistill.students.training import Hooks, Log, train  # noqa: E402
from cotdistill.tasks.example import Choice, Example  # noqa: E402
from cotdistill.tasks.template import Template  # noqa: E402

VOCABULARY = 50_257
# Of CommonsenseQA's training rows under post_cot in GPT-2's own tokens (mean and spread): the prompt with its choices, an answer, a rationale.
PROMPT, ANSWER, RATIONALE_TOKENS = (44, 8), (1.7, 0.8), (33, 9)
ROWS, CHOICES = 2048, 5


@dataclass(frozen=True)
class Work:
    """What a student is given. rows: one training sequence an example; prompts: what is scored, with the choices of each."""

    told: str
    rows: list[Row]
    prompts: list[list[int]]
    choices: list[list[list[int]]]

    @property
    def lengths(self) -> list[int]:
        return [len(row.ids) for row in self.rows]


def generated(number: int) -> Work:
    """Random tokens, as long as CommonsenseQA's rows are."""
    draw = np.random.default_rng(0)

    def tokens(size: tuple[float, float]) -> list[int]:
        return draw.integers(100, VOCABULARY - 100, max(1, round(draw.normal(*size)))).tolist()

    rows, prompts, choices = [], [], []
    for _ in range(number):
        prompts.append(tokens(PROMPT))
        choices.append([tokens(ANSWER) for _ in range(CHOICES)])
        parts = [(prompts[-1], 0), (choices[-1][0], LABEL), (tokens((3, 0)), 0), (tokens(RATIONALE_TOKENS), RATIONALE)]
        groups = np.array([group for ids, group in parts for _ in ids], np.int8)
        counts = {group: int((groups == group).sum()) for group in (LABEL, RATIONALE)}
        weights = np.array([1 / counts[g] if g else 0.0 for g in groups.tolist()], np.float32)
        rows.append(Row(np.array([id for ids, _ in parts for id in ids], np.int32), weights, groups))
    return Work("generated rows of CommonsenseQA's lengths", rows, prompts, choices)


def read(folder: Path, bpe: Path, number: int, workspace: Path) -> Work:
    """CommonsenseQA's own training rows in GPT-2's tokens: train.jsonl.gz (or .jsonl), and the folder of GPT-2's encoder.json and vocab.bpe."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    path = next((p for p in (folder / "train.jsonl.gz", folder / "train.jsonl") if p.is_file()), None)
    if path is None or not (bpe / "encoder.json").is_file():
        raise SystemExit(
            f"Expected train.jsonl.gz in {folder}, and GPT-2's encoder.json and vocab.bpe in {bpe}. Name the latter with --bpe."
        )
    tokenizer = Tokenizer(BPE.from_file(str(bpe / "encoder.json"), str(bpe / "vocab.bpe")))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), Decoder()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    tokenizer.save(str(workspace / "tokenizer.json"))
    (workspace / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}), encoding="utf-8"
    )
    encoder = Encoder(workspace / "tokenizer.json", Template())
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as lines:
        told = [row for row in map(json.loads, lines) if row["rationale"]][:number]
    examples = [
        Example(
            r["id"],
            r["question"],
            tuple(Choice(c["label"], c["text"]) for c in r["choices"]),
            r["answer"],
            "train",
            r["rationale"],
            "teacher",
        )
        for r in told
    ]
    corpus, condition, config = encoder.corpus(examples), parse("post_cot"), TrainingConfig()
    rows = [row for i in range(len(examples)) for row in weighted(encoder.sequences(corpus, i, condition, 0), config)]
    prompts = [encoder.prompt(e, condition.spec.prompt("direct")) for e in examples]
    return Work(f"{len(rows)} rows of {path.name}", rows, prompts, [encoder.targets(e) for e in examples])


class Clock:
    """Seconds of work on a device, everything that was begun included."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def of(self, act: Callable[[], object]) -> float:
        begun = self.now()
        act()
        return self.now() - begun


def matrix_rate(clock: Clock, size: int) -> float:
    """Operations a second of a square bf16 matrix product, the best of five after a warm-up."""
    a, b = (torch.randn(size, size, device=clock.device, dtype=torch.bfloat16) for _ in range(2))
    repeats = 10 if clock.device.type == "cuda" else 1

    def products() -> None:
        for _ in range(repeats):
            a @ b

    products()
    return 2.0 * size**3 * repeats / min(clock.of(products) for _ in range(5))


def student(arguments: argparse.Namespace) -> transformers.PreTrainedModel:
    """GPT-2 small with fresh weights; under --small two narrow layers with the same vocabulary."""
    sizes = (
        {"n_embd": 64, "n_layer": 2, "n_head": 2} if arguments.small else {"n_embd": 768, "n_layer": 12, "n_head": 12}
    )
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), arguments.dropout)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=VOCABULARY, pad_token_id=0, **sizes, **drops)
    )
    return model.to(torch.device(arguments.device))  # type: ignore[arg-type]


def ours(arguments: argparse.Namespace, work: Work, clock: Clock, rate: float, *, compiled: bool) -> dict[str, Any]:
    """Tokens a second and memory of `students.training.train`, after the warm-up steps."""
    model = student(arguments)
    steps = arguments.warmup + arguments.steps
    precision = "fp32" if arguments.fp32 else "bf16"
    config = TrainingConfig(
        steps=steps, batch_size=arguments.batch, micro_batch=arguments.micro, lr=5e-5, precision=precision, device=arguments.device, evaluations=0,
        compile=compiled,
    )  # fmt: skip
    seen: list[tuple[float, int, int, float]] = []

    def report(log: Log, values: dict[str, float]) -> None:
        if log.step in (arguments.warmup, steps):
            seen.append((clock.now(), log.tokens, log.padded_tokens, log.flops))

    if clock.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    stream = Stream(work.lengths, arguments.batch, 0)
    train(model, lambda i, epoch: [work.rows[i]], stream, config, steps=steps, pad=0, hooks=Hooks(report))
    (began, *before), (ended, *after) = seen
    tokens, padded, flops = ((b - a) / (ended - began) for a, b in zip(before, after, strict=True))
    found: dict[str, Any] = {
        "tokens_per_second": tokens, "padded_tokens_per_second": padded, "flops_per_second": flops, "of_matrix_rate": flops / rate,
        "padded_of_matrix_rate": flops / rate * padded / tokens, "seconds_a_step": (ended - began) / arguments.steps,
    }  # fmt: skip
    if clock.device.type == "cuda":
        rows = arguments.micro or arguments.batch
        # The worst step: the longest rows together.
        longest = sorted(work.rows, key=lambda row: len(row.ids))[-rows:]
        load = Load(
            rows=rows, length=len(longest[-1].ids), predicted=sum(int((row.groups > 0).sum()) for row in longest),
            passes=math.ceil(arguments.batch / rows), precision=precision, device="cuda",
        )  # fmt: skip
        told = estimate(of_config(model.config.to_dict()), load)
        found |= {"peak_bytes": torch.cuda.max_memory_allocated(), "estimated_bytes": told.peak}
        found["estimate_over_peak"] = told.peak / found["peak_bytes"]
    return found


def trainer(arguments: argparse.Namespace, work: Work, clock: Clock) -> dict[str, Any] | str:
    """Tokens a second of Hugging Face Trainer as it comes, on the same model, rows and batch; a sentence where it cannot run."""
    if importlib.util.find_spec("accelerate") is None:
        return "not measured: Trainer needs accelerate, which is not installed"
    rows = [
        {"input_ids": row.ids.tolist(), "labels": np.where(row.groups > 0, row.ids, -100).tolist()} for row in work.rows
    ]
    tokens = [0, 0]

    def collate(batch: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in batch)
        tokens[0] += sum(len(row["input_ids"]) for row in batch)
        tokens[1] += width * len(batch)
        filled = {"input_ids": 0, "labels": -100}
        laid = {
            name: torch.tensor([row[name] + [pad] * (width - len(row[name])) for row in batch])
            for name, pad in filled.items()
        }
        laid["attention_mask"] = torch.tensor(
            [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in batch]
        )
        return laid

    steps = arguments.warmup + arguments.steps
    seen: list[tuple[float, int, int]] = []

    class Seen(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step in (arguments.warmup, steps):
                seen.append((clock.now(), *tokens))

    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            output_dir=folder, per_device_train_batch_size=arguments.batch, max_steps=steps, bf16=not arguments.fp32, learning_rate=5e-5,
            use_cpu=clock.device.type == "cpu", save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        model = student(arguments)
        if clock.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        done = transformers.Trainer(
            model=model, args=settings, train_dataset=rows, data_collator=collate, callbacks=[Seen()]
        )  # type: ignore[arg-type]
        done.train()
    (began, *before), (ended, *after) = seen
    real, padded = ((b - a) / (ended - began) for a, b in zip(before, after, strict=True))
    found = {
        "tokens_per_second": real,
        "padded_tokens_per_second": padded,
        "seconds_a_step": (ended - began) / arguments.steps,
    }
    return found | ({"peak_bytes": torch.cuda.max_memory_allocated()} if clock.device.type == "cuda" else {})


def looking(arguments: argparse.Namespace, work: Work, clock: Clock) -> dict[str, Any]:
    """Rates of scoring, of writing rationales, and of the gradients that attributions are made of."""
    model = student(arguments)
    model.eval()
    reader = Forward(model)
    number = 64 if arguments.small else len(work.prompts)
    prompts, choices = work.prompts[:number], work.choices[:number]
    choice_scores(reader, prompts[:64], choices[:64], 0)
    scoring = clock.of(lambda: choice_scores(reader, prompts, choices, 0))
    asked = prompts[: min(number, 256)]
    limit = 8 if arguments.small else 40
    writing = clock.of(lambda: greedy(reader, asked, [1, 2, 3, 1, 2], limit=limit, after=1, pad=0, eos=VOCABULARY - 1))
    probe = StudentQueries(model, 0, memory=(1 << 28) if arguments.small else (4 << 30))
    queries = [query(prompt, options[0]) for prompt, options in zip(prompts, choices, strict=True)]

    def gradients() -> None:
        for batch in probe.batches(queries):
            embeds = probe.embed(batch).requires_grad_()
            probe.values(embeds, batch, batch.all()).sum().backward()

    gradients()
    passes = len(queries) / clock.of(gradients)
    return {
        "questions_scored_per_second": number / scoring,
        "tokens_written_per_second": len(asked) * limit / writing,
        "gradient_passes_per_second": passes,
        "integrated_gradients_of_32_steps_per_second": passes / 32,
    }


def query(prompt: list[int], answer: list[int]) -> Query:
    """The log-probability of an answer after its prompt, all of the prompt's tokens moving."""
    ids = np.array([*prompt, *answer[:-1]])
    places = np.arange(len(prompt) - 1, len(ids))
    every = np.arange(len(ids))
    return Query(
        name="gold", ids=ids, positions=every, owner=np.zeros(len(ids), np.int64), length=len(ids), places=places, picks=np.arange(len(answer)),
        tokens=np.array(answer), groups=np.zeros(len(answer), np.int64), weights=np.ones(1, np.float32), against=np.zeros(1, bool),
        moves=every < len(prompt), words=every,
    )  # fmt: skip


def tests() -> str:
    """The outcome of the tests that are marked gpu."""
    if importlib.util.find_spec("pytest") is None:
        return "not run: pytest is not installed"
    # Without the project's own settings: a bare machine has no plugins.
    words = [
        "-c",
        os.devnull,
        "--rootdir",
        str(ROOT),
        "--noconftest",
        "-p",
        "no:cacheprovider",
        "-q",
        "-W",
        "ignore",
        "-m",
        "gpu",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(ROOT / "tests" / "test_gpu.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout.strip().splitlines() or [done.stderr.strip()[-300:]])[-1]


def say(name: str, value: Any, *, under: str = "") -> None:
    if isinstance(value, dict):
        for key, one in value.items():
            say(key, one, under=f"{under}{name}: ")
    else:
        print(f"{under}{name}: {f'{value:.4g}' if isinstance(value, float) else value}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--small",
        action="store_true",
        help="a student of two narrow layers and few steps: proves the path, measures nothing",
    )
    parser.add_argument(
        "--data", type=Path, help="folder with train.jsonl.gz; default: generated rows of the same lengths"
    )
    parser.add_argument(
        "--bpe", type=Path, help="folder with GPT-2's encoder.json and vocab.bpe; default: gpt2_bpe beside --data"
    )
    parser.add_argument("--batch", type=int, default=64, help="examples a step")
    parser.add_argument("--micro", type=int, default=0, help="sequences in one forward pass; 0: the whole batch")
    parser.add_argument("--steps", type=int, default=60, help="steps that are timed")
    parser.add_argument("--warmup", type=int, default=20, help="steps before them")
    parser.add_argument("--dropout", type=float, default=0.0, help="GPT-2 as released has 0.1")
    parser.add_argument("--fp32", action="store_true", help="full precision instead of bf16 autocast")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--no-tests", action="store_true", help="leave the GPU tests out")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(
            f"torch {torch.__version__} sees no GPU. The path can be tried with --device cpu --small.", file=sys.stderr
        )
        return 1
    if arguments.small:
        arguments.steps, arguments.warmup, arguments.batch = 3, 2, min(arguments.batch, 8)
    prepare_torch(torch.get_num_threads(), False)
    device = torch.device(arguments.device)
    clock = Clock(device)
    number = 256 if arguments.small else ROWS
    with tempfile.TemporaryDirectory() as workspace:
        bpe = arguments.bpe or (arguments.data.parent / "gpt2_bpe" if arguments.data else Path())
        work = read(arguments.data, bpe, number, Path(workspace)) if arguments.data else generated(number)
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "text": work.told,
        "batch": arguments.batch,
        "mean_tokens_a_row": float(np.mean(work.lengths)),
    }
    for name, value in found.items():
        say(name, value)
    parts: dict[str, Callable[[], Any]] = {
        "matrix_flops_per_second": lambda: matrix_rate(clock, 8192 if device.type == "cuda" else 512),
        "ours": lambda: ours(arguments, work, clock, found["matrix_flops_per_second"], compiled=False),
        **(
            {"ours_compiled": lambda: ours(arguments, work, clock, found["matrix_flops_per_second"], compiled=True)}
            if arguments.compile
            else {}
        ),
        "trainer": lambda: trainer(arguments, work, clock),
        "looking": lambda: looking(arguments, work, clock),
        **({} if arguments.no_tests else {"gpu_tests": tests}),
    }
    for name, measure in parts.items():
        found[name] = measure()
        say(name, found[name])
    if isinstance(found["trainer"], dict):
        best = max(found[name]["tokens_per_second"] for name in ("ours", "ours_compiled") if name in found)
        found["times_trainer"] = best / found["trainer"]["tokens_per_second"]
        say("times_trainer", found["times_trainer"])
    text = json.dumps(found)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
