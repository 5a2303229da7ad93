"""A teacher in this process: any causal LM with safetensors weights writes answers to many questions at a time,
contrastively if asked to.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors
import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel, PreTrainedTokenizerFast

from cotdistill.config import stable_seed
from cotdistill.errors import TeacherError
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.elicitation import Contrast, ElicitConfig, Request, Sampling, TeacherConfig
from cotdistill.teachers.prompts import Message, plain_prompt
from cotdistill.teachers.responses import Failure, Response


@dataclass(frozen=True)
class Completion:
    """What was written after a prompt: the text, why it ended ("stop" or "length"), and how many tokens it has."""

    text: str
    finish: str
    tokens: int


class LocalTeacher:
    """A loaded teacher. chat: whether its tokenizer's chat template is used. TeacherError if it cannot be loaded;
    nothing of a checkpoint is ever run as code."""

    def __init__(self, config: TeacherConfig) -> None:
        self.name = config.model
        options: dict[str, Any] = {"revision": config.revision or None, "trust_remote_code": False}
        try:
            # Not AutoTokenizer, which builds some families' tokenizers anew from the vocabulary: their ids can differ
            # from those of tokenizer.json, by which a student reads the same folder.
            self.tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(config.model, **options)
            model = AutoModelForCausalLM.from_pretrained(
                config.model, use_safetensors=True, dtype=torch.float32 if config.device == "cpu" else "auto", **options
            )
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise TeacherError(
                f"The teacher {config.model!r} cannot be loaded: {str(error).splitlines()[0]}",
                "Expected a causal LM with safetensors weights and its tokenizer: a folder written by save_pretrained,"
                " or a hub id.",
            ) from error
        if not len(self.tokenizer):
            raise TeacherError(
                f"The teacher {config.model!r} has no tokenizer.json.",
                "Save a fast tokenizer beside it; students read the same file.",
            )
        if config.device == "cuda" and not torch.cuda.is_available():
            raise TeacherError("This machine has no GPU that torch can use.", "Set the teacher's device to cpu.")
        self.model: PreTrainedModel = model
        self.model.to(torch.device(config.device))  # type: ignore[arg-type]
        self.model.eval()  # type: ignore[no-untyped-call]
        self.chat = config.chat == "on" or (
            config.chat == "auto" and bool(getattr(self.tokenizer, "chat_template", None))
        )
        if self.chat and not getattr(self.tokenizer, "chat_template", None):
            raise TeacherError(f"The tokenizer of {config.model!r} has no chat template.", "Set chat to off or auto.")
        # Called at every token: long work must notice that it is to stop.
        self.breathe: Callable[[], None] = lambda: None
        self.positions = int(getattr(self.model.config, "max_position_embeddings", 0) or 1_000_000)
        eos = getattr(self.model.generation_config, "eos_token_id", None)
        ends = eos if isinstance(eos, list) else [eos]
        self.ends = frozenset(id for id in (*ends, self.tokenizer.eos_token_id) if id is not None)
        # Prompts' logits are not needed but for their last place; at a large vocabulary they would take gigabytes.
        self._last: dict[str, Any] = (
            {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}
        )

    def ids(self, config: ElicitConfig, turns: Sequence[Message]) -> list[int]:
        """A conversation as the teacher reads it."""
        if self.chat:
            encoded = self.tokenizer.apply_chat_template(
                _joined_system(self.tokenizer, turns), add_generation_prompt=True, return_dict=True
            )
            return [int(id) for id in encoded["input_ids"]]
        return [int(id) for id in self.tokenizer(plain_prompt(config.template, turns))["input_ids"]]

    def stops(self, config: ElicitConfig) -> tuple[str, ...]:
        """The texts at which an answer ends; without any, a plain prompt's answer ends where its next turn would
        begin.
        """
        return config.sampling.stop or (
            (config.template.separator,) if not self.chat and config.template.separator else ()
        )

    @torch.no_grad()
    def write(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int], stops: Sequence[str]
    ) -> list[Completion]:
        """Continue every prompt. Each row draws from a generator of its own, so what it says does not depend on who
        else is in the batch (but for the last digits of arithmetic)."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]

        def choose(logits: torch.Tensor, rows: Sequence[int]) -> list[int]:
            if not sampling.temperature:
                return [int(id) for id in logits.argmax(-1).tolist()]
            odds = likely(torch.log_softmax(logits.float().cpu() / sampling.temperature, -1).exp(), sampling.top_p)
            return [int(torch.multinomial(odds[i], 1, generator=generators[row])) for i, row in enumerate(rows)]

        return self._grow([prompts], lambda logits, rows: choose(logits[0], rows), sampling.max_tokens, stops)

    @torch.no_grad()
    def write_against(
        self,
        prompts: Sequence[Sequence[int]],
        others: Sequence[Sequence[int]],
        contrast: Contrast,
        limit: int,
        stops: Sequence[str],
    ) -> list[Completion]:
        """Continue every prompt by the tokens that its other prompt makes less likely (see `contrasted`)."""

        def choose(logits: list[torch.Tensor], rows: Sequence[int]) -> list[int]:
            return [
                int(id)
                for id in contrasted(logits[0], logits[1], contrast.weight, contrast.plausible).argmax(-1).tolist()
            ]

        return self._grow([prompts, others], choose, limit, stops)

    def _grow(
        self,
        sides: Sequence[Sequence[Sequence[int]]],
        choose: Callable[[list[torch.Tensor], Sequence[int]], list[int]],
        limit: int,
        stops: Sequence[str],
    ) -> list[Completion]:
        """Write token by token after every prompt of the first side; the other sides read the same tokens after prompts
        of their own. Rows that have ended leave the batch."""
        reading = [_Side(self.model, prompts, self.tokenizer.pad_token_id or 0, self._last) for prompts in sides]
        rows = list(range(len(sides[0])))
        grown: list[list[int]] = [[] for _ in rows]
        done: dict[int, Completion] = {}
        while True:
            self.breathe()
            chosen = choose([side.logits for side in reading], rows)
            alive = []
            for at, row in enumerate(rows):
                ended = self._ended(grown[row], chosen[at], limit, stops)
                if ended is None:
                    alive.append(at)
                else:
                    done[row] = ended
            if not alive:
                return [done[row] for row in range(len(sides[0]))]
            rows = [rows[at] for at in alive]
            for side in reading:
                side.read([chosen[at] for at in alive], alive)

    def _ended(self, ids: list[int], chosen: int, limit: int, stops: Sequence[str]) -> Completion | None:
        """Take a token to a row; what it has written if that ends it."""
        if chosen in self.ends:
            return Completion(self._text(ids), "stop", len(ids) + 1)
        ids.append(chosen)
        if stops:
            # The end alone is decoded: a stop is short, and this happens at every token.
            tail = self._text(ids[-(8 + 2 * max(map(len, stops))) :])
            if any(stop in tail for stop in stops):
                text = self._text(ids)
                return Completion(text[: min(text.find(stop) for stop in stops if stop in text)], "stop", len(ids))
        return Completion(self._text(ids), "length", len(ids)) if len(ids) >= limit else None

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


class _Side:
    """A batch of prompts that is read token by token, with its cache. logits (rows, vocabulary): of the next token."""

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad: int, last: dict[str, Any]
    ) -> None:
        self._model, self._last = model, last
        device = next(model.parameters()).device
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), pad, device=device)
        self._mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):  # left padding, so that every row goes on at the same column
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt), device=device)
            self._mask[row, width - len(prompt) :] = 1
        self._cache = DynamicCache(config=model.config)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        self._place = positions[:, -1:]
        self.logits = self._forward(ids, positions)

    def read(self, tokens: Sequence[int], alive: Sequence[int]) -> None:
        """Keep the rows in `alive` and read one token each."""
        device = self._mask.device
        if len(alive) < len(self._mask):
            keep = torch.tensor(list(alive), device=device)
            self._cache.batch_select_indices(keep)
            self._mask, self._place = self._mask[keep], self._place[keep]
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], 1)
        self._place = self._place + 1
        self.logits = self._forward(torch.tensor(list(tokens), device=device)[:, None], self._place)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            **self._last,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits


def contrasted(shown: torch.Tensor, other: torch.Tensor, weight: float, plausible: float) -> torch.Tensor:
    """(rows, vocabulary) scores: log p(token | the answer shown) - weight x log p(token | another answer, or none),
    from the logits of both.

    The best token by these scores is that of SCOTT (2305.01879): with weight 1/2 it is the best by log p + log (p /
    p'). Tokens less likely under the answer shown than `plausible` times the likeliest are left out (Li et al.
    2210.15097), for a rare token can win by its ratio alone.
    """
    chosen, rival = torch.log_softmax(shown.float(), -1), torch.log_softmax(other.float(), -1)
    scores = chosen - weight * rival
    if plausible > 0:
        # The logarithm of the share; a share of 1 leaves the likeliest alone.
        least = chosen.max(-1, keepdim=True).values + torch.log(torch.tensor(plausible))
        scores = scores.masked_fill(chosen < least, float("-inf"))
    return scores


def likely(odds: torch.Tensor, top_p: float) -> torch.Tensor:
    """(rows, vocabulary) probabilities of the likeliest tokens that make up `top_p` together (Holtzman et al.
    1904.09751), the rest 0; not normalised."""
    if top_p >= 1:
        return odds
    ordered, places = odds.sort(-1, descending=True)
    # The token that passes the share is in.
    ordered[ordered.cumsum(-1) - ordered >= top_p] = 0.0
    return torch.zeros_like(odds).scatter(-1, places, ordered)


def _joined_system(tokenizer: Any, turns: Sequence[Message]) -> list[Message]:
    """The turns as the tokenizer's template takes them: a template that knows no system turn gets it in front of the
    first question.
    """
    if turns and turns[0]["role"] == "system" and "system" not in str(tokenizer.chat_template):
        first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
        return [first, *turns[2:]]
    return list(turns)


def ask_local(
    config: ElicitConfig,
    requests: Sequence[Request],
    pace: Pace,
    arrived: Callable[[list[Response], list[Failure]], None],
    tick: Callable[[float], None],
    teacher: LocalTeacher | None = None,
) -> None:
    """Answer every request, `pace.concurrency` at a time, those of similar length together; as `asking.ask_all`, in
    this process.
    """
    teacher = teacher or LocalTeacher(config.teacher)
    teacher.breathe = lambda: tick(0.0)
    stops = teacher.stops(config)
    limit = config.sampling.max_tokens
    prepared = [
        (r, teacher.ids(config, r.turns), teacher.ids(config, r.against) if r.against is not None else [])
        for r in requests
    ]
    fitting = [pending for pending in prepared if max(len(pending[1]), len(pending[2])) + limit <= teacher.positions]
    long = [pending for pending in prepared if max(len(pending[1]), len(pending[2])) + limit > teacher.positions]
    message = (
        f"with {limit} tokens of answer the prompt is longer than the {teacher.positions} that the teacher can read"
    )
    arrived(
        [], [Failure(r.place, "request", f"{message}: {max(len(ids), len(other))} tokens", 1) for r, ids, other in long]
    )
    # The longest first: if the batch is too large for the memory, that shows at once.
    fitting.sort(key=lambda pending: -len(pending[1]))
    for start in range(0, len(fitting), pace.concurrency):
        batch = fitting[start : start + pace.concurrency]
        begun = time.monotonic()
        prompts = [ids for _, ids, _ in batch]
        if config.contrast.against != "nothing":
            written = teacher.write_against(prompts, [other for _, _, other in batch], config.contrast, limit, stops)
        else:
            seeds = [stable_seed("sample", r.key, config.sampling.seed + r.sample) for r, _, _ in batch]
            written = teacher.write(prompts, config.sampling, seeds, stops)
        each = (time.monotonic() - begun) / len(batch)
        arrived(
            [
                Response(r.key, teacher.name, w.text, w.finish, len(ids) + len(other), w.tokens, each)
                for (r, ids, other), w in zip(batch, written, strict=True)
            ],
            [],
        )
