"""What both sides of a comparison get: CommonsenseQA as GPT-2's tokenizer reads it, and a student of the asked size with random weights.

Looked for in $COTDISTILL_SHARED/data (else ../shared/data beside the repository): commonsenseqa and gpt2_bpe. Where they are missing, made-up words
take their place: as many to a question, a choice and a rationale, in a vocabulary of the same size. The figures then say so.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cotdistill.students.loading import prepare_torch  # noqa: E402
from cotdistill.students.tokens import Encoder  # noqa: E402
from cotdistill.tasks.example import Choice, Example  # noqa: E402
from cotdistill.tasks.importing.importer import import_task  # noqa: E402
from cotdistill.tasks.template import Template  # noqa: E402

SHARED = Path(os.environ.get("COTDISTILL_SHARED", ROOT.parent / "shared")) / "data"
END = "<|endoftext|>"
SOURCE = "llama3-70b-l2"
VOCABULARY = 50_257
# One thread for both sides: the built-in students' default, and steadier where a machine is shared.
THREADS = 1
# Words of a question, a choice and a rationale of CommonsenseQA, lowest and highest of the middle nine tenths.
MADE_UP = {"question": (7, 22), "choice": (1, 3), "rationale": (20, 60)}


@dataclass(frozen=True)
class Material:
    """Examples with GPT-2's vocabulary. folder holds tokenizer.json and its settings; name: what it is, for the figures."""

    folder: Path
    name: str
    digest: str
    encoder: Encoder
    train: list[Example]
    dev: list[Example]

    @property
    def fast(self) -> PreTrainedTokenizerFast:
        found: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(self.folder)
        return found


def begin() -> None:
    """What a process of the product does before it computes."""
    prepare_torch(THREADS, deterministic=False)


def material() -> Material:
    """Quiet libraries, one thread, and the data in a folder of its own that is gone with the process."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(THREADS)
    folder = Path(_temporary.name)
    if not (SHARED / "commonsenseqa").is_dir() or not (SHARED / "gpt2_bpe").is_dir():
        print(
            f"{SHARED} has no commonsenseqa and gpt2_bpe (COTDISTILL_SHARED names the folder above it): made-up words instead.",
            file=sys.stderr,
        )
        return _made_up(folder)
    bpe = Tokenizer(BPE.from_file(str(SHARED / "gpt2_bpe" / "encoder.json"), str(SHARED / "gpt2_bpe" / "vocab.bpe")))
    bpe.pre_tokenizer, bpe.decoder = ByteLevel(add_prefix_space=False), ByteDecoder()
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, pad_token=END).save_pretrained(folder)
    task = import_task(folder / "tasks", SHARED / "commonsenseqa", "commonsenseqa").task
    train = [e for e in task.examples("train", SOURCE) if e.rationale]
    return Material(
        folder,
        "CommonsenseQA",
        task.digest,
        Encoder(folder / "tokenizer.json", task.template),
        train,
        task.examples("test"),
    )


_temporary = tempfile.TemporaryDirectory(prefix="cotdistill-bench-")


def _made_up(folder: Path) -> Material:
    rng = random.Random(0)
    template = Template()
    cues = sorted({word for text in (template.label_cue, template.rationale_cue) for word in text.split()})
    names = [END, *cues, *(f"w{i}" for i in range(VOCABULARY - 1 - len(cues)))]
    words = Tokenizer(WordLevel({name: i for i, name in enumerate(names)}, unk_token=names[-1]))
    words.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END, pad_token=END).save_pretrained(folder)

    known = names[len(cues) + 1 :]

    def text(what: str) -> str:
        return " ".join(rng.choice(known) for _ in range(rng.randint(*MADE_UP[what])))

    def example(split: str, number: int) -> Example:
        choices = tuple(Choice(label, text("choice")) for label in "ABCDE")
        return Example(
            f"{split}-{number}", text("question"), choices, rng.choice("ABCDE"), split, rationale=text("rationale")
        )

    train, dev = [example("train", i) for i in range(2_000)], [example("test", i) for i in range(500)]
    return Material(folder, "made-up words", "made-up", Encoder(folder / "tokenizer.json", template), train, dev)


def student(width: int, layers: int, seed: int = 0) -> GPT2LMHeadModel:
    """A GPT-2 with its own vocabulary and random weights, no dropout; heads of 32."""
    torch.manual_seed(seed)
    config = GPT2Config(
        n_embd=width, n_layer=layers, n_head=max(2, width // 32), n_positions=512, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        activation_function="gelu_pytorch_tanh",
    )  # fmt: skip
    return GPT2LMHeadModel(config)
