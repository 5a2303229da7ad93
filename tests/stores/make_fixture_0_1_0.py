"""How the fixture of 0.1.0 was made: a small but wide store, an archive, and the numbers that 0.1.0 itself gives of both.

Run once, with the code of 0.1.0 (commit 7d9513d) as the current folder, and never again: what a released version has written stays as it is.

    cd CLONE-OF-0.1.0 && PYTHONPATH=. .venv/bin/python FOLDER/make_fixture.py FOLDER

It writes into FOLDER
  store-0.1.0.tar.gz             store/ (what COTDISTILL_HOME names) and hub/ (what HF_HUB_CACHE names: the one pretrained student, 4 wide)
  archive-0.1.0.cotdistill.zip   what `study export field` wrote in another store; the study `field` of store/ was imported from it
  numbers-0.1.0.json             for the store, what is computed from its weights, the archive in an empty store, and an empty store:
                                 the words of a command, and the document that 0.1.0 answered with --json
Everything is done through the terminal's own `main`, and trained by the supervisor and the worker that it starts.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import random
import shlex
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before anything of the product is loaded: one processor, no network, the hub's cache in a folder of our own.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

from cotdistill.studies.backup import back_up  # noqa: E402
from cotdistill.studies.store import Store  # noqa: E402
from cotdistill.studies.supervisor import stop_all  # noqa: E402

from cotdistill import __version__  # noqa: E402
from cotdistill.cli import main  # noqa: E402
from cotdistill.tasks.catalog import open_task  # noqa: E402

COMMIT = "7d9513d"
# A pretrained student as the hub keeps it: known by a name and a commit, so that runs on it have the same identity on every machine.
STUDENT, REVISION = "fixture/tiny", "0123456789abcdef0123456789abcdef01234567"
WORLD = (
    "--set task_settings.creatures=20 --set task_settings.trained_relations=4 --set task_settings.wordings=1 --set task_settings.documents=40 "
    "--set fixed_seeds.world=0 --set fixed_seeds.base=0"
)
SHORT = "--set training.evaluations=1 --set training.dev_examples=12"
TINY = (
    f"--task field_guide --student {STUDENT} --set student.revision={REVISION} {WORLD} {SHORT} --steps 80 --set training.batch_size=8 "
    "--set training.lr=0.03 --set training.checkpoints=0,1"
)
TINY_CONDITIONS = "label_only,pre_cot,post_cot,post_cot/shuffle(unit=token),label_only@tokens=post_cot,post_cot/key_tokens(selector=integrated_gradients,k=3)"
FIELD = f"--task field_guide {WORLD} {SHORT} --set base_steps=30 --steps 30 --set training.batch_size=8 --set training.checkpoints=1"
FIELD_CONDITIONS = "label_only,pre_cot,post_cot,post_cot/shuffle(unit=token),post_cot/key_tokens(selector=tf_idf,k=2),post_cot+label_smoothing(epsilon=0.1)"
# Weights of the built-in student are most of what a store holds; in bf16 they are half of that.
BASED = f"--task field_guide {WORLD} {SHORT} --set base_steps=20 --set student.dtype=bf16 --steps 20 --set training.checkpoints=1"
MODES = "--condition label_only --condition pre_cot --examples 20"
SCORERS = "--condition label_only --condition pre_cot --samples 2 --examples 20"
QUIZ = (
    f"--task quiz --student {STUDENT} --set student.revision={REVISION} {SHORT} --steps 150 --set training.batch_size=8 "
    "--set training.lr=0.02 --set training.checkpoints=1"
)
FILTERS = "agrees(unknown=keep),length(low=3,high=16)"
LENIENT = "length(low=1,high=80),bottleneck(least=-1000)"

# Paths and what else is this machine's own. All other times and durations stand in the store, so they are the same wherever it is opened.
VOLATILE = {("study plan", "memory.free"), ("study plan", "memory.fits")}


# --- the terminal -------------------------------------------------------------------------------------------------------------------------------


def say(line: str, *more: str, code: int = 0) -> Any:
    """What a command answers with --json."""
    out = io.StringIO()
    words = [*shlex.split(line), *more]
    begun = time.monotonic()
    with contextlib.redirect_stdout(out):
        got = main([*words, "--json"])
    print(f"{time.monotonic() - begun:6.1f} s  {' '.join(words)[:150]}", file=sys.stderr)
    if got != code:
        raise SystemExit(f"{words}: exit code {got}: {out.getvalue()}")
    return json.loads(out.getvalue())


@contextlib.contextmanager
def home(folder: Path) -> Iterator[Store]:
    os.environ["COTDISTILL_HOME"] = str(folder)
    store = Store.open(folder)
    say("queue workers 1")
    try:
        yield store
    finally:
        stop_all(store)


def run_of(study: str, condition: str, replicate: int = 0) -> int:
    """The number of a training run, by the plan's own words."""
    (one,) = [
        r for r in say(f"study plan {study}")["runs"] if r["condition"] == condition and r["replicate"] == replicate
    ]
    (job,) = [r for r in say("runs list --kind all") if r["identity"] == one["id"]]
    return int(job["id"])


# --- what is put in -----------------------------------------------------------------------------------------------------------------------------


def write_student(cache: Path, texts: list[str]) -> None:
    """A GPT-2 of width 4 with random weights and a byte-pair tokenizer of the texts, as the hub's cache holds it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = cache / f"models--{STUDENT.replace('/', '--')}" / "snapshots" / REVISION
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    # What is not ASCII has no token: the texts have none of it, and every token takes weights.
    letters = [*map(chr, range(33, 127)), "Ġ", "Ċ"]
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=letters)
    tokenizer.train_from_iterator(texts, trainer)
    torch.manual_seed(0)
    end = tokenizer.token_to_id("<|endoftext|>")
    shape = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(), n_embd=4, n_layer=2, n_head=2, n_positions=256, bos_token_id=end, eos_token_id=end,
        initializer_range=0.2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    GPT2LMHeadModel(shape).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text(REVISION, encoding="ascii")


def quiz_rows() -> dict[str, list[dict[str, Any]]]:
    """An imported task: a thing is warm or cold by its kind, and the rationale names the kind. Some rows have no rationale."""
    kinds = {
        "stove": "fire",
        "lamp": "fire",
        "candle": "fire",
        "snow": "water",
        "river": "water",
        "cellar": "stone",
        "cave": "stone",
        "sun": "fire",
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    draw = random.Random(7)
    for split, number in (("train", 40), ("dev", 16), ("test", 32)):
        rows[split] = []
        for i in range(number):
            thing, kind = draw.choice(sorted(kinds.items()))
            warm = kind == "fire"
            choices = ["warm", "cold"] if draw.random() < 0.5 else ["cold", "warm"]
            why = f"the {thing} is a thing of {kind} . things of {kind} are {'warm' if warm else 'cold'} ."
            why += " what is like them feels like them ." if i % 4 == 0 else ""
            rows[split].append(
                {
                    "id": f"{split}-{i:02}", "question": f"how does {thing} number {i % 7} feel ?", "choices": choices,
                    "answer": choices.index("warm" if warm else "cold"), "rationale": "" if i % 10 == 9 else why, "cluster": thing,
                }
            )  # fmt: skip
    return rows


def write_quiz(folder: Path) -> None:
    folder.mkdir()
    for split, rows in quiz_rows().items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_marks(path: Path, rows: list[dict[str, Any]]) -> None:
    """Two people's marks of the words that name the kind; one of them skips a rationale."""
    lines = []
    for place, row in enumerate(rows):
        text = row["rationale"]
        if not text:
            continue
        kind = text.split(" thing of ")[1].split()[0]
        first, second = text.index(kind), text.rindex(kind)
        spans = [[first, first + len(kind)], [second, second + len(kind)]]
        lines.append({"example": row["id"], "annotator": "ada", "spans": spans[: 1 + place % 2]})
        if place % 3 == 0:
            lines.append({"example": row["id"], "annotator": "bob", "spans": spans, "skipped": place == 3})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


SKILLS = (
    ("label_only", 0.34), ("pre_cot", 0.4), ("post_cot", 0.55), ("shuffled", 0.54), ("random", 0.33), ("label_only@tokens=post_cot", 0.36),
    ("post_cot/key_tokens(selector=tf_idf,k=3)", 0.57), ("post_cot/matched_random_k(selector=tf_idf,k=3)", 0.37),
)  # fmt: skip


def write_answers(path: Path, items: list[dict[str, Any]], *, own: bool) -> None:
    """Answers of other code, drawn. own: with answers and clusters, and other questions in each replicate, of a task that is not in the store."""
    draw = random.Random(11)
    hard = {row["id"]: 0.6 * draw.random() for row in items}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["item", "condition", "replicate", "p_0", "p_1", "tokens", "split", *(["answer", "cluster"] if own else [])]
        )
        for condition, skill in SKILLS[:4] if own else SKILLS:
            for replicate in range(3):
                for split in ("test", "dev"):
                    for row in items:
                        if row["id"].startswith(split):
                            right = min(0.99, max(0.01, draw.gauss(0.5 + skill - hard[row["id"]], 0.03)))
                            p = (right, 1 - right) if row["answer"] == 0 else (1 - right, right)
                            rest = [row["answer"], row["cluster"]] if own else []
                            item = f"{row['id']}-{replicate}" if own else row["id"]
                            writer.writerow(
                                [item, condition, replicate, *map(repr, p), 1000 + 7 * replicate, split, *rest]
                            )


# --- the store ----------------------------------------------------------------------------------------------------------------------------------


def make_archive(work: Path, out: Path) -> None:
    """The study `field`, built-in students on a shared base, with what looks at it; exported without weights. And a smaller one without texts."""
    with home(work / "elsewhere"):
        say(f"study run {FIELD} --seeds 2 --name field --conditions", FIELD_CONDITIONS, "--wait")
        say("study note field --text", "Look at replicate 1.", "--tag", "thursday", "--baseline", "post_cot")
        say("modes field --condition pre_cot --examples 20 --tests truncate,shuffle,replace --wait")
        say("scorers field --condition pre_cot --examples 20 --wait")
        say(f"attribute {run_of('field', 'pre_cot')} --examples 2 --target contrast --job")
        say(f"influence {run_of('field', 'post_cot')} --examples 2 --steps 4 --job")
        say(f"study export field --out {out}")
        say(f"study run {FIELD} --seeds 1 --name sent --steps 20 --conditions label_only,pre_cot --wait")
        say(f"study export sent --no-texts --out {work / 'sent.cotdistill.zip'}")


def make_store(work: Path, store_folder: Path) -> dict[str, Any]:
    """The store; gives what the commands have to be told of it: numbers of runs and selections, names of sources."""
    quiz = quiz_rows()
    write_quiz(work / "quiz")
    write_marks(work / "marks.jsonl", quiz["train"])
    write_answers(work / "ours.csv", [*quiz["test"], *quiz["dev"]], own=False)
    write_answers(work / "elsewhere.csv", [*quiz["test"], *quiz["dev"]], own=True)
    told: dict[str, Any] = {}
    with home(store_folder) as store:
        # A pretrained student: everything that can be asked of it.
        say(f"study run {TINY} --seeds 2 --name tiny --conditions", TINY_CONDITIONS, "--wait")
        say(
            "study note tiny --text",
            "Read before <Thursday>.",
            "--tag",
            "keep",
            "--tag",
            "thursday",
            "--baseline",
            "post_cot",
        )
        pre, pre1, post = run_of("tiny", "pre_cot"), run_of("tiny", "pre_cot", 1), run_of("tiny", "post_cot")
        told |= {"pre": pre, "pre1": pre1, "post": post}
        for run in (pre, pre1):
            say(f"attribute {run} --examples 2 --target contrast --job")
        say(f"attribute {post} --examples 2 --method occlusion --unit word --job")
        say(f"attribute {pre} --examples 2 --method input_x_gradient --target contrast --job")
        say(f"influence {post} --examples 2 --steps 4 --job")
        say(f"faithfulness {pre} --examples 6 --method saliency,input_x_gradient --random 3 --shares 0,0.2,0.5,1 --job")
        say(f"probe {pre} --what group --rows 40 --job")
        say(f"attention {pre},{pre1} --examples 10 --job")
        say(f"paraphrases {pre},{pre1} --examples 6 --method saliency --job")
        say(f"modes tiny {MODES} --wait")
        say(f"scorers tiny {SCORERS} --wait")
        told["selections"] = [
            say(f"keytokens select {pre} --selector {s}")["id"] for s in ("integrated_gradients", "tf_idf", "random")
        ]
        # A built-in student with its weights, on a shared base.
        say(f"study run {BASED} --seeds 1 --name based --conditions label_only --wait")
        say(f"study run {TINY} --seeds 1 --name followed --conditions pre_cot,pre_cot+counterfactual --wait")
        say("rounds run followed --rounds 1 --filters", LENIENT, "--name", "own")
        told["based"] = run_of("based", "label_only")
        # What came as a file.
        say(f"study import {work / 'sent.cotdistill.zip'}")
        # A task of somebody's own, a filtered view of its rationales, a teacher's, and people's marks.
        say(f"tasks import {work / 'quiz'} --name quiz --cluster cluster")
        told["short"] = say("teacher filter --task quiz --name short --filters", FILTERS)["source"]
        teacher = f"--kind local --model {STUDENT} --revision {REVISION} --max-tokens 8"
        elicited = say(f"teacher elicit --task quiz {teacher} --name garble --rows 6 --wait")
        told |= {"elicited": elicited["id"], "garble": elicited["result"]["source"]}
        say(f"keytokens import {work / 'marks.jsonl'} --task quiz --set lab")
        conditions = f"label_only,label_only@fraction=0.5,post_cot,post_cot@source={told['short']},post_cot/human(annotations=lab)"
        say(f"study run {QUIZ} --name quiz --seeds 1 --conditions", conditions, "--wait")
        # Answers of other code, to questions of this store and to others.
        for name, more in (("ours", "--task quiz --map random=post_cot/random_tokens"), ("others", "")):
            file = "ours" if more else "elsewhere"
            say(
                f"runs import {work / file}.csv --study {name} --student theirs {more} --map shuffled=post_cot/shuffle(unit=token)"
            )
        # What has not been trained: a study of its own, and one more replicate after a look at the first.
        say("queue pause")
        say(f"study run {FIELD} --name halted --seeds 1 --steps 9 --conditions label_only,post_cot")
        say("study run quiz --seeds 2")
        waiting = [str(run["id"]) for run in say("runs list --state queued --kind all")]
        say("runs stop", *waiting)
        say("queue resume")
        assert {run["kind"] for run in say("runs list --kind all")} == KINDS, "a kind of job is missing"
        assert store.verify().problems == ()
    return told


KINDS = {
    "base", "train", "select", "attribute", "influence", "faithfulness", "elicit", "answers", "modes", "probe", "scorers", "concentration",
    "paraphrases", "write",
}  # fmt: skip


# --- the numbers --------------------------------------------------------------------------------------------------------------------------------


def store_commands(told: dict[str, Any], store: Store) -> list[str]:
    """What is asked of the store: every command that only looks."""
    pre, pre1, post = (told[key] for key in ("pre", "pre1", "post"))
    selections = " ".join(map(str, told["selections"]))
    extended = max(study.id for study in store.queue.studies())
    first = min(study.id for study in store.queue.studies() if study.name == "quiz")
    lines = [
        "verify",
        "verdicts",
        "study list",
        "study list --tag thursday",
        "runs list --kind all",
        "tasks list",
        "conditions list",
    ]
    lines += ["keytokens selectors", "teacher filters", "teacher list", "students list"]
    for study in ("tiny", "followed", "followed-round1", "based", "sent", "halted", "ours", "others", first, extended):
        lines += [
            f"findings {study}",
            f"compare {study}",
            f"study show {study}",
            f"rivals {study}",
            f"study sizes {study}",
            f"study note {study}",
        ]
    lines += [
        f"study plan {study}" for study in ("tiny", "followed", "followed-round1", "based", "sent", "halted", "quiz")
    ]
    lines += [
        "findings tiny --margin 3",
        "compare tiny --baseline pre_cot --margin 2",
        "study show tiny --baseline label_only",
        "follows followed",
    ]
    lines += [f"study plan {TINY} --seeds 2 --name tiny --conditions {shlex.quote(TINY_CONDITIONS)}"]
    lines += [f"study plan {BASED} --seeds 1 --name based --conditions label_only"]
    lines += [
        "modes tiny --show",
        f"modes tiny {MODES} --show",
        f"scorers tiny {SCORERS} --show",
        "rounds show followed",
    ]
    lines += [f"attribute {run} --examples 2 --target contrast --job" for run in (pre, pre1)]
    lines += [f"attribute {post} --examples 2 --method occlusion --unit word --job"]
    lines += [f"stability {pre},{pre1} --examples 2 --target contrast --method integrated_gradients --job"]
    lines += [f"influence {post} --examples 2 --steps 4 --job"]
    lines += [
        f"faithfulness {pre} --examples 6 --method saliency,input_x_gradient --random 3 --shares 0,0.2,0.5,1 --job"
    ]
    lines += [f"probe {pre} --what group --rows 40 --job", f"attention {pre},{pre1} --examples 10 --job"]
    lines += [f"paraphrases {pre},{pre1} --examples 6 --method saliency --job"]
    lines += [f"keytokens show {number}" for number in told["selections"]] + [f"keytokens compare {selections} -k 3"]
    lines += [
        "tasks show quiz",
        "teacher quality --task quiz",
        "lint --task quiz --rows 0",
        f"lint --task quiz --student {STUDENT} --rows 0",
    ]
    lines += [
        "tasks rationales quiz train-00",
        "teacher show --task quiz --example train-00",
        f"teacher progress {told['elicited']}",
    ]
    lines += [f"teacher filter --task quiz --filters {FILTERS}"]
    for condition in (
        "label_only",
        "pre_cot",
        "post_cot",
        f"post_cot@source={told['short']}",
        "mixed",
        "post_cot/shuffle(unit=word)",
    ):
        lines += [f"preview --task quiz --condition {condition}"]
        lines += [f"preview --task quiz --condition {condition} --student {STUDENT} --example train-05"]
    # Every run and look, whole: its config, what came out, the digests of what it made and used.
    lines += [f"runs show {job.id}" for job in sorted(store.queue.jobs(), key=lambda job: job.id)]
    return lines


def computed_commands(told: dict[str, Any]) -> list[str]:
    """What is worked out anew from the weights that the store holds, so that its last digits are the machine's."""
    lines = [f"attribute {told[run]} --examples 2 --method saliency" for run in ("pre", "post")]
    return [
        *lines,
        f"attribute {told['based']} --examples 2 --method occlusion",
        f"attention {told['post']} --examples 5",
    ]


ARCHIVE_COMMANDS = [
    "verify", "verdicts", "findings field", "findings field --margin 3", "compare field", "compare field --baseline pre_cot", "study show field",
    "rivals field", "modes field --show",
    "modes field --condition pre_cot --examples 20 --tests truncate,shuffle,replace --show",
    "scorers field --condition pre_cot --examples 20 --show", "study plan field",
    f"study plan {FIELD} --seeds 2 --name field --conditions {shlex.quote(FIELD_CONDITIONS)}",
    "study note field", "study list", "runs list --kind all",
]  # fmt: skip

# In a store of its own, where nothing has been made yet: what is derived alone.
PREVIEWS = (
    "label_only", "pre_cot", "post_cot", "multitask", "mixed", "post_cot/shuffle(unit=token)", "post_cot/shuffle(unit=sentence)",
    "post_cot/mask(fraction=0.5)", "post_cot/drop(fraction=0.5)", "post_cot/truncate(fraction=0.5)", "post_cot/swap(partner=other_label)",
    "post_cot/random_tokens", "post_cot/random_k(k=3)", "post_cot/content_words", "post_cot/strip_labels", "pre_cot+counterfactual",
    "post_cot@target=naive", "pre_cot@source=deductive",
)  # fmt: skip
EMPTY_COMMANDS = [
    "study plan starter", "study plan keytokens", "study plan neighbours",
    f"study plan {FIELD} --seeds 2 --name field --conditions {shlex.quote(FIELD_CONDITIONS)}",
    f"study plan {TINY} --seeds 2 --name tiny --conditions {shlex.quote(TINY_CONDITIONS)}",
    "tasks show field_guide", "lint --task field_guide --rows 40",
    *(f"preview --task field_guide --condition {condition} --seed 3" for condition in PREVIEWS),
    "preview --task field_guide --condition post_cot/shuffle(unit=word) --tokenizer bpe",
    f"preview --task field_guide --condition pre_cot --student {STUDENT}",
]  # fmt: skip


def without(document: Any, path: str) -> None:
    """Take a key away, wherever the dotted path leads."""
    *outer, last = path.split(".")
    for key in outer:
        document = document.get(key) or {}
    document.pop(last, None)


def asked(lines: list[str]) -> dict[str, Any]:
    found = {}
    for line in lines:
        document = say(line)
        for words, path in VOLATILE:
            if line.startswith(words + " "):
                without(document, path)
        found[line] = document
    return found


# --- the files ----------------------------------------------------------------------------------------------------------------------------------


def pack(folder: Path, out: Path) -> None:
    """A tar with the same bytes for the same content: sorted, without owners and times."""
    with (
        open(out, "wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != ".lock":
                info = tarfile.TarInfo(path.relative_to(folder).as_posix())
                info.size, info.mode, info.mtime = path.stat().st_size, 0o644, 1_700_000_000
                with path.open("rb") as file:
                    tar.addfile(info, file)


def make(out: Path) -> None:
    assert __version__ == "0.1.0", __version__
    archive = out / "archive-0.1.0.cotdistill.zip"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["HF_HUB_CACHE"] = str(work / "packed" / "hub")
        texts = [" ".join(map(str, row.values())) for rows in quiz_rows().values() for row in rows]
        world = open_task(
            work / "tasks",
            "field_guide",
            world=0,
            settings={"creatures": 20, "trained_relations": 4, "wordings": 1, "documents": 40},
        )
        texts += [
            f"{e.question} {' '.join(c.text for c in e.choices)} {e.rationale or ''}" for e in world.examples("train")
        ]
        write_student(work / "packed" / "hub", texts)
        make_archive(work, archive)
        told = make_store(work, work / "store")
        # What a backup holds: no logs, no locks, no resume checkpoints, and one database without a log beside it.
        (work / "packed" / "store").parent.mkdir(exist_ok=True)
        back_up(Store.open(work / "store"), work / "packed" / "store", link=False)
        (work / "packed" / "store" / "manifest.json").unlink()
        pack(work / "packed", out / "store-0.1.0.tar.gz")
        # The numbers are those of the file, opened elsewhere.
        with tarfile.open(out / "store-0.1.0.tar.gz") as tar:
            tar.extractall(work / "opened", filter="data")
        os.environ["HF_HUB_CACHE"] = str(work / "opened" / "hub")
        numbers: dict[str, Any] = {"cotdistill": __version__, "commit": COMMIT}
        os.environ["COTDISTILL_HOME"] = str(work / "opened" / "store")
        numbers["store"] = asked(store_commands(told, Store.open()))
        numbers["computed"] = asked(computed_commands(told))
        os.environ["COTDISTILL_HOME"] = str(work / "imported")
        say("queue workers 1")
        say(f"study import {archive}")
        numbers["archive"] = asked(ARCHIVE_COMMANDS)
        os.environ["COTDISTILL_HOME"] = str(work / "empty")
        say("queue workers 1")
        numbers["empty"] = asked(EMPTY_COMMANDS)
    write_numbers(out / "numbers-0.1.0.json", numbers)


def write_numbers(path: Path, numbers: dict[str, Any]) -> None:
    """As JSON, one command a line."""
    parts = []
    for part, told in numbers.items():
        if isinstance(told, dict):
            lines = []
            for words, one in told.items():
                document = json.dumps(one, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
                lines.append(f"{json.dumps(words)}: {document}")
            parts.append(f"{json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n}")
        else:
            parts.append(f"{json.dumps(part)}: {json.dumps(told)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
