"""Training sequences as other trainers read them: what each format can say of them, and what it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cotdistill.rationales.placement import SEGMENTS
from cotdistill.registry import Registry
from cotdistill.students.tokens import Encoded, Encoder

BOS, END = SEGMENTS.index("bos"), SEGMENTS.index("end")
# The label that PyTorch's cross-entropy leaves out.
IGNORED = -100
# What every format but token ids leaves to the trainer.
TEXT = (
    "The trainer tokenises the joined text; here every span is tokenised on its own, so tokens at the borders of spans"
    " may differ (rows_with_the_same_tokens counts the rows in which none does, with this tokenizer)."
)
COMPLETION = (
    "Loss is borne by everything after the prompt; here a cue between label and rationale, and a rationale that is read"
    " without loss, bear none (unsaid_tokens counts these tokens)."
)
OWN_END = (
    "The trainer puts its own end token behind the text, which then bears loss; here a sequence ends in one only after"
    " a rationale that comes last, and where answers have a terminator."
)
CHAT = "The student's chat template puts its own tokens around both turns, which are not part of what is read here."
WEIGHTS = (
    "How much a token weighs: the trainer averages over all tokens that bear loss (training.loss=token_mean here);"
    " under training.loss=span label and rationale weigh alike, whatever their length."
)
ORDER = (
    "Which examples share a step: here it follows from the order seed alone, the same under every condition; the"
    " trainer shuffles by its own seed, so replicates are not paired step by step."
)


@dataclass(frozen=True)
class TrainingText:
    """One training sequence as text: its spans in order, joined where neighbours agree on loss."""

    id: str  # of the example
    parts: tuple[tuple[bool, str], ...]  # (whether it bears loss, text), without the end token
    ends: bool  # whether the end token is part of the sequence

    @property
    def prompt(self) -> str:
        """The text before the first token that bears loss."""
        return "".join(text for _, text in self.parts[: self._first])

    @property
    def completion(self) -> str:
        return "".join(text for _, text in self.parts[self._first :])

    @property
    def _first(self) -> int:
        return next((place for place, (bears, _) in enumerate(self.parts) if bears), len(self.parts))


def training_text(id: str, encoder: Encoder, encoded: Encoded) -> TrainingText:
    """The text of a sequence; each span is decoded by itself, as it was tokenised."""
    parts: list[tuple[bool, str]] = []
    for (segment, bears), places in groupby(
        range(len(encoded)), key=lambda place: (int(encoded.segments[place]), bool(encoded.loss[place]))
    ):
        if segment in (BOS, END):
            continue
        text = encoder.written_text([int(encoded.ids[place]) for place in places])
        if not parts and encoder.whole_words:
            text = text.removeprefix(" ")
        if parts and parts[-1][0] == bears:
            parts[-1] = (bears, parts[-1][1] + text)
        else:
            parts.append((bears, text))
    return TrainingText(id, tuple(parts), bool(len(encoded)) and int(encoded.segments[-1]) == END)


def spans(encoded: Encoded) -> list[dict[str, Any]]:
    """The named spans of a sequence, in order, with their numbers of tokens."""
    return [
        {"span": SEGMENTS[segment], "tokens": len(list(places))}
        for segment, places in groupby(int(segment) for segment in encoded.segments)
    ]


@dataclass(frozen=True)
class TrainerFormat:
    """A registered format."""

    name: str
    help: str  # one line
    row: Callable[[TrainingText, Encoded, str], dict[str, Any]]  # (text, tokens, text of the end token) -> one row
    cannot_say: tuple[str, ...]  # sentences for the card
    use: str  # how the trainer is pointed at FILE
    exact: bool = False  # whether rows hold the tokens themselves


FORMATS: Registry[TrainerFormat] = Registry("format")


def _trl(text: TrainingText, encoded: Encoded, end: str) -> dict[str, Any]:
    ids = [int(token) for token in encoded.ids]
    labels = [token if bears else IGNORED for token, bears in zip(ids, encoded.loss, strict=True)]
    return {"id": text.id, "input_ids": ids, "labels": labels, "spans": spans(encoded)}


def _trl_chat(text: TrainingText, encoded: Encoded, end: str) -> dict[str, Any]:
    return {
        "id": text.id,
        "prompt": [{"role": "user", "content": text.prompt}],
        "completion": [{"role": "assistant", "content": text.completion}],
    }


def _openai(text: TrainingText, encoded: Encoded, end: str) -> dict[str, Any]:
    turns = (("user", text.prompt), ("assistant", text.completion))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _llamafactory(text: TrainingText, encoded: Encoded, end: str) -> dict[str, Any]:
    return {"instruction": text.prompt, "input": "", "output": text.completion}


def _axolotl(text: TrainingText, encoded: Encoded, end: str) -> dict[str, Any]:
    segments = [{"label": bears, "text": part} for bears, part in text.parts]
    if text.ends:
        last = bool(encoded.loss[-1])
        segments = [*segments, {"label": last, "text": end}]
    return {"segments": segments}


def _text(text: TrainingText, encoded: Encoded, end: str) -> dict[str, Any]:
    return {"text": text.prompt + text.completion}


FORMATS.register(
    TrainerFormat(
        "trl",
        "TRL's SFTTrainer: token ids and labels, exactly what is read and what bears loss here",
        _trl,
        (WEIGHTS, ORDER),
        'load_dataset("json", data_files="FILE") into SFTTrainer; ids are those of the tokenizer that the card names;'
        " keep max_length above the card's longest_tokens",
        exact=True,
    )
)
FORMATS.register(
    TrainerFormat(
        "trl-chat",
        "TRL's SFTTrainer: prompt and completion as turns of a chat",
        _trl_chat,
        (TEXT, CHAT, COMPLETION, OWN_END, WEIGHTS, ORDER),
        'load_dataset("json", data_files="FILE") into SFTTrainer, with completion_only_loss=True',
    )
)
FORMATS.register(
    TrainerFormat(
        "llamafactory",
        "LLaMA-Factory's alpaca format, with its dataset_info.json",
        _llamafactory,
        (TEXT, CHAT, COMPLETION, OWN_END, WEIGHTS, ORDER),
        "dataset_dir: this folder, dataset: a name of dataset_info.json, stage: sft, train_on_prompt: false",
    )
)
FORMATS.register(
    TrainerFormat(
        "axolotl",
        "axolotl's input_output format: segments of text, each with or without loss",
        _axolotl,
        (TEXT, WEIGHTS, ORDER),
        "datasets: [{path: FILE, ds_type: json, type: input_output}], train_on_inputs: false",
    )
)
FORMATS.register(
    TrainerFormat(
        "openai",
        "chat messages, as OpenAI's fine-tuning and many others read them",
        _openai,
        (TEXT, CHAT, COMPLETION, OWN_END, WEIGHTS, ORDER),
        "training_file: FILE; loss is borne by the assistant's turn",
    )
)
FORMATS.register(
    TrainerFormat(
        "text",
        "plain text, for any trainer of language models",
        _text,
        (
            TEXT,
            "Which tokens bear loss: a trainer of plain text predicts the question too.",
            OWN_END,
            WEIGHTS,
            ORDER,
        ),
        'one JSON object per line with the key "text"',
    )
)


def unsaid_tokens(encoded: Encoded) -> int:
    """Tokens without loss after the first one that bears loss."""
    bearing = [place for place, bears in enumerate(encoded.loss) if bears]
    return int(len(encoded) - bearing[0] - len(bearing)) if bearing else 0


def same_tokens(encoder: Encoder, text: TrainingText, encoded: Encoded) -> bool:
    """Whether the joined text gives the same tokens in this tokenizer, begin and end token aside."""
    ids = encoder.tokenizer.encode(text.prompt + text.completion, add_special_tokens=False).ids
    kept: Iterator[int] = (
        int(token) for token, segment in zip(encoded.ids, encoded.segments, strict=True) if segment not in (BOS, END)
    )
    return list(kept) == ids


def dataset_info(files: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """LLaMA-Factory's description of (name, file) pairs."""
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    return {name: {"file_name": file, "columns": columns} for name, file in files}
