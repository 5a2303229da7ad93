"""Spans to ids, labels and segments: the exact sequences a student reads, without torch.

Every span is tokenised on its own, so a label or rationale token has the same id wherever its span stands.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from sys import intern

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from cotdistill.errors import SequenceTooLong, StudentError
from cotdistill.rationales.conditions import Condition
from cotdistill.rationales.passage import Corpus, Passage, Token
from cotdistill.rationales.placement import COUNTERFACTUAL, SEGMENTS
from cotdistill.rationales.selection import Selection
from cotdistill.rationales.transforms import Draw
from cotdistill.tasks.example import Argued, Example
from cotdistill.tasks.template import Template

# RIVAL: a wrong choice in the label's place, which a ranking of the choices reads.
NO_LOSS, LABEL, RATIONALE, RIVAL = 0, 1, 2, 3

# After this text a span's first word is tokenised as inside a sentence (with its leading space where the tokenizer has
# one).
_ANCHOR = ":"
# The end of a line with the empty lines behind it; what stands before and after are lines.
_LINE_BREAK = re.compile(r"([ \t]*\n(?:[ \t]*\n)*)")
# Tokens that are decoded together when one of them is not text by itself: a character has at most four bytes, and a
# token may hold the end of one character and the beginning of the next.
LONGEST_SPELLING = 8


@dataclass(frozen=True)
class Encoded:
    """One training sequence of one example.

    ids (length,) int32; segments (length,) int8, index into SEGMENTS; loss (length,) int8: whether the token is
    predicted, 0 no, 1 in the label's loss, 2 in the rationale's, 3 a rival of the label; origin (length,) int32: place
    in the intact rationale, -1 elsewhere.
    """

    ids: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int8]
    loss: npt.NDArray[np.int8]
    origin: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Part:
    """One span of a sequence: its segment's name (see SEGMENTS) and its tokens."""

    segment: str
    tokens: Sequence[Token]


@dataclass(frozen=True, slots=True)
class Specials:
    """Ids with a role; bos is None where the student's tokenizer puts none in front."""

    bos: int | None
    eos: int
    pad: int


class Encoder:
    """Reads examples as a student does. `tokenizer` is a tokenizer.json; special ids are looked up in the files beside
    it.
    """

    def __init__(self, tokenizer: Path, template: Template, *, naive: bool = False, terminator: bool = False) -> None:
        """naive: labels are tokenised apart, without the space before them (`Condition.naive`). terminator: every
        answer ends in the end token, which is predicted and scored with it (`RunConfig.terminator`)."""
        if not tokenizer.is_file():
            raise StudentError(
                f"There is no tokenizer at {tokenizer}.",
                "A student folder needs a tokenizer.json (save a fast tokenizer).",
            )
        self.path = tokenizer
        self.template = template
        self.naive = naive
        self.terminator = terminator
        self.tokenizer = _read_tokenizer(str(tokenizer), tokenizer.stat().st_mtime_ns)
        self.specials = _specials(tokenizer, self.tokenizer)
        self._anchor = self.tokenizer.encode(_ANCHOR, add_special_tokens=False).ids

    @cached_property
    def vocabulary_size(self) -> int:
        """One more than the largest id: ids may have gaps."""
        return _size(self.tokenizer)

    @cached_property
    def _prefixes(self) -> bool:
        """Whether the tokenizer puts a space in front of every text (as Llama's does): wrong for a span that goes on
        inside a text.
        """
        return any(token.startswith("▁") for token in self.tokenizer.encode("\n", add_special_tokens=False).tokens)

    @cached_property
    def unknown(self) -> int | None:
        """The id that stands for what the tokenizer does not know; None where it names none."""
        token: int | None = self.tokenizer.token_to_id(getattr(self.tokenizer.model, "unk_token", None) or "<unk>")
        return token

    @cached_property
    def whole_words(self) -> bool:
        """Whether tokens are whole words that the tokenizer joins by a space."""
        return type(self.tokenizer.model).__name__ == "WordLevel"

    def piece(self, id: int) -> str:
        """The text of one token, with its leading space."""
        token = self.tokenizer.id_to_token(id)
        if token is None:
            return f"<{id}>"
        if self.whole_words:
            return token if token == "\n" else f" {token}"
        return token.replace("▁", " ") if "▁" in token else self.tokenizer.decode([id], skip_special_tokens=False)

    def written_pieces(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        """The text of ids that a student wrote, as (text, number of tokens that spell it). A character that is spread
        over several tokens is decoded from all of them together, since none of them is text by itself; bytes that
        spell no character become U+FFFD.
        """
        pieces: list[tuple[str, int]] = []
        start = 0
        while start < len(ids):
            text, count = self.piece(ids[start]), 1
            if "\ufffd" in text:
                for end in range(start + 2, min(start + LONGEST_SPELLING, len(ids)) + 1):
                    together: str = self.tokenizer.decode(list(ids[start:end]), skip_special_tokens=False)
                    if "\ufffd" not in together:
                        text, count = together, end - start
                        break
            pieces.append((text, count))
            start += count
        return pieces

    def written_text(self, ids: Sequence[int]) -> str:
        """Ids that a student wrote, as text."""
        return "".join(text for text, _ in self.written_pieces(ids))

    def pieces(self, encoded: Encoded) -> list[str]:
        return [self.piece(int(id)) for id in encoded.ids]

    def symbol_id(self, symbol: str) -> int:
        """The id of a mask symbol; StudentError if the tokenizer needs several tokens for it."""
        if (known := self.tokenizer.token_to_id(symbol)) is not None:
            return int(known)
        ids = [token.id for token in self.read(symbol)]
        if len(ids) != 1:
            raise StudentError(
                f"The mask symbol {symbol!r} is {len(ids)} tokens for this student.",
                "Choose a symbol that is one token, for example _",
            )
        return ids[0]

    def plain(self, text: str) -> list[Token]:
        """A template span: words and sentences, no origin."""
        if not text:
            return []
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
        if self._prefixes and text[0].isspace():
            behind = self.tokenizer.encode(f"{_ANCHOR}{text}", add_special_tokens=False)
            start, shift = len(self._anchor), len(_ANCHOR)
            if behind.ids[:start] == self._anchor:
                ids, offsets = behind.ids[start:], [(low - shift, high - shift) for low, high in behind.offsets[start:]]
        return _told_apart(text, ids, offsets, rationale=False)

    def read(self, text: str) -> Passage:
        """A rationale as tokens, with its words, sentences, lines and steps.

        White space is folded, so that no rationale can imitate a cue's line break, unless the template keeps it: then
        lines and the breaks between them are tokenised apart, and every line break is a token of its own.
        """
        shown = self._shown(text)
        if not shown:
            return ()
        ids, offsets = self._tokens(shown)
        return tuple(_told_apart(shown, ids, offsets, kept=self._keeps, step=self.template.step))

    def apart(self, text: str) -> Passage:
        """A text as its tokenizer reads it by itself, knowing nothing of what stands before it (arXiv 2212.09912 calls
        it inconsistent).
        """
        folded = " ".join(text.split())
        encoding = self.tokenizer.encode(folded, add_special_tokens=False)
        return tuple(_told_apart(folded, encoding.ids, encoding.offsets))

    @property
    def _keeps(self) -> bool:
        """Whether the white space of rationales is kept."""
        return self.template.white_space == "kept"

    def _shown(self, text: str) -> str:
        """A rationale as it is read: without white space around it, and where that is folded, with single blanks."""
        return text.strip() if self._keeps else " ".join(text.split())

    def _tokens(self, shown: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and places of a rationale as it is read (see `_shown`)."""
        first, *rest = _LINE_BREAK.split(shown)
        ids, offsets = self._spaced_tokens(first)
        at = len(first)
        for piece in rest:
            more, places = self._going_on("\n" if piece.strip() else _ANCHOR, piece)
            ids, offsets = [*ids, *more], [*offsets, *((low + at, high + at) for low, high in places)]
            at += len(piece)
        return ids, offsets

    def _going_on(self, before: str, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and places of a text that goes on after another, without the space that some tokenizers put in front."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        if self._prefixes:
            start, shift = self.tokenizer.encode(before, add_special_tokens=False).ids, len(before)
            behind = self.tokenizer.encode(f"{before}{text}", add_special_tokens=False)
            if behind.ids[: len(start)] == start:
                return behind.ids[len(start) :], [(a - shift, b - shift) for a, b in behind.offsets[len(start) :]]
        return encoding.ids, encoding.offsets

    def _spaced_tokens(self, folded: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and places of a text as inside a sentence; a leading space begins before its start."""
        encoding = self.tokenizer.encode(f"{_ANCHOR} {folded}", add_special_tokens=False)
        start, shift = len(self._anchor), len(_ANCHOR) + 1
        if encoding.ids[:start] != self._anchor:
            encoding, start, shift = self.tokenizer.encode(f" {folded}", add_special_tokens=False), 0, 1
        return encoding.ids[start:], [(low - shift, high - shift) for low, high in encoding.offsets[start:]]

    def tokens_in(self, text: str, spans: Iterable[tuple[int, int]]) -> set[int]:
        """The places, in what `read` gives for a text, of the tokens that overlap some ranges of its characters."""
        shown = self._shown(text)
        places: dict[int, int] = {}
        length = 0
        for match in re.finditer(r"\S.*\S|\S" if self._keeps else r"\S+", text, re.DOTALL):
            places |= {i: length + i - match.start() for i in range(match.start(), match.end())}
            length += len(match.group()) + 1
        wanted = {places[i] for a, b in spans for i in range(a, b) if i in places}
        offsets = self._tokens(shown)[1] if shown else []
        return {place for place, (low, high) in enumerate(offsets) if wanted & set(range(max(low, 0), high))}

    def passage(self, ids: Sequence[int]) -> Passage:
        """Ids that a student wrote, with words and sentences; never decoded and encoded again, so they stay the ids
        they are.
        """
        text, offsets = "", []
        for piece, count in self.written_pieces(ids):
            offsets += [(len(text), len(text) + len(piece))] * count
            text += piece
        return tuple(_told_apart(text, ids, offsets, kept=self._keeps, step=self.template.step))

    def corpus(
        self,
        examples: Sequence[Example],
        selections: Mapping[str, Selection] | None = None,
        passages: Sequence[Passage] | None = None,
    ) -> Corpus:
        return Corpus(examples, self.read, self.symbol_id, selections, passages, self.apart)

    def targets(self, example: Example) -> list[list[int]]:
        """The ids of each choice as an answer, in the order of the choices."""
        return [[token.id for token in self.target(text)] for text in self.template.target_texts(example)]

    @cache  # noqa: B019  the encoder lives as long as the job
    def target(self, text: str, naive: bool = False) -> Passage:
        """An answer as tokens, with its terminator where answers have one; naive: apart, even where this encoder reads
        it behind a text. StudentError if it has none.
        """
        tokens = self.apart(text) if naive or self.naive else self.read(" ".join(text.split()))
        if not tokens:
            raise StudentError(f"The answer {text!r} has no tokens for this student.", "Check the choices of the task.")
        if not self.terminator:
            return tokens
        return (*tokens, Token(self.specials.eos, tokens[-1].word + 1, tokens[-1].sentence, "", -1))

    def sequences(
        self, corpus: Corpus, index: int, condition: Condition, seed: int, *, epoch: int = 0
    ) -> list[Encoded]:
        """What a student reads of one example under a condition: one sequence, or two under multitask, mixed and the
        counterfactual objective (one where the example has no counterfactual rationale), none for the undistilled.

        Positions after the last predicted token are left out: in a causal model nothing after it can change the loss.
        """
        example = corpus.examples[index]
        rationale: Passage = ()
        if condition.spec.uses_rationale and corpus.passages[index]:
            rationale = condition.rewrite(corpus.passages[index], Draw.of(corpus, index, seed, epoch))
        label = self.target(self.template.target_texts(example)[example.gold], condition.naive)
        encodings = [
            self._sequence(example, spans, label, rationale)
            for spans in condition.spec.sequences
            if spans[0] != COUNTERFACTUAL
        ]
        if isinstance(example, Argued):
            encodings += [
                self._counterfactual(example, spans, condition.naive)
                for spans in condition.spec.sequences
                if spans[0] == COUNTERFACTUAL
            ]
        return [encoded for encoded in encodings if len(encoded)]

    def _counterfactual(self, example: Argued, spans: Sequence[str], naive: bool) -> Encoded:
        """The sequence of the wrong answer: its rationale is read, and the answer alone is predicted."""
        counterfactual = example.counterfactual
        wrong = next(
            text
            for choice, text in zip(example.choices, self.template.target_texts(example), strict=True)
            if choice.label == counterfactual.answer
        )
        rationale = tuple(replace(token, origin=-1, loss=False) for token in self.read(counterfactual.rationale))
        return self._sequence(example, spans, self.target(wrong, naive), rationale)

    def prompt(
        self,
        example: Example,
        spans: Sequence[str],
        rationale: Sequence[int] | None = None,
        room: int | None = None,
    ) -> list[int]:
        """The ids of a prompt made of the named spans (see Placement.prompt). `rationale` fills the rationale span,
        default the example's own. A prompt of more than `room` tokens loses the first tokens of its question, and where
        that is not enough, its own first tokens: one long question never stops the scoring of the others.
        """
        wanted_spans = (
            [Token(id, 0, 0, "", -1) for id in rationale]
            if rationale is not None
            else self.read(example.rationale or "")
        )
        if "rationale" in spans and not wanted_spans:
            spans = [span for span in spans if span not in ("rationale_cue", "rationale")]
        parts = self.parts(example, spans, (), wanted_spans)
        over = sum(len(part.tokens) for part in parts) - room if room is not None else 0
        if over <= 0:
            return [token.id for part in parts for token in part.tokens]
        kept = [
            token.id for part in parts for token in (part.tokens[over:] if part.segment == "question" else part.tokens)
        ]
        return kept[max(0, len(kept) - max(1, room or 0)) :]

    def answer_room(self, examples: Sequence[Example], mode: str, positions: int) -> int:
        """How many tokens a prompt may have so that a student which reads `positions` tokens can be asked for any of
        the answers; in the mode "own" a rationale of one token and the answer cue stand between.
        """
        longest = max((len(target) for example in examples for target in self.targets(example)), default=1)
        return positions - longest - len(self.label_cue) - 1 if mode == "own" else positions - longest + 1

    @cached_property
    def label_cue(self) -> list[int]:
        """The ids that end a rationale which comes first."""
        return [token.id for token in self.plain(self.template.after_rationale)]

    def cue(self, name: str) -> list[int]:
        """The ids of a template's cue ("label_cue", "rationale_cue")."""
        return [token.id for token in self.plain(getattr(self.template, name))]

    def parts(
        self, example: Example, spans: Sequence[str], label: Sequence[Token], rationale: Sequence[Token]
    ) -> list[Part]:
        """The named spans of a sequence in order, each tokenised on its own, with label and rationale as given."""
        template = self.template
        parts = [] if self.specials.bos is None else [Part("bos", [Token(self.specials.bos, 0, 0, "", -1)])]
        for place, span in enumerate(spans):
            name, _, which = span.partition(":")
            if name == "task":
                tokens: Sequence[Token] = self._tag(which)
            elif name in ("question", "choices"):
                tokens = self.plain(
                    template.question_text(example) if name == "question" else template.choices_text(example)
                )
            elif name == "label_cue" and "rationale" in spans[:place]:
                tokens = self.plain(template.after_rationale)
            elif name in ("label_cue", "rationale_cue"):
                tokens = self.plain(getattr(template, name))
            elif name == "end":
                tokens = [Token(self.specials.eos, 0, 0, "", -1)]
            else:
                tokens = label if name == "label" else rationale
            parts.append(Part(name, tokens))
        return parts

    def _tag(self, which: str) -> list[Token]:
        """What stands before a question to say what is asked. A vocabulary of whole words may lack [factual] and
        [counterfactual]: the template's two tags, which it has, stand for them."""
        if which in ("label", "rationale"):
            return self.plain(getattr(self.template, f"{which}_task"))
        tokens = self.plain(f"[{which}] ")
        if any(token.id == self.unknown for token in tokens):
            return self.plain(self.template.rationale_task if which == "factual" else self.template.label_task)
        return tokens

    def _sequence(self, example: Example, spans: Sequence[str], label: Passage, rationale: Passage) -> Encoded:
        if not rationale:
            # An empty rationale takes its cue and end with it, so that dropping everything equals label only.
            spans = [span for span in spans if span not in ("rationale_cue", "rationale", "end")]
        bears_loss = any(token.loss for token in rationale)
        ids, segments, loss, origin = [], [], [], []
        seen_rationale = False
        for part in self.parts(example, spans, label, rationale):
            for token in part.tokens:
                bears = NO_LOSS
                if part.segment == "label":
                    bears = LABEL
                elif part.segment == "rationale" and token.loss:
                    bears = RATIONALE
                elif bears_loss and (part.segment == "end" or (part.segment == "label_cue" and seen_rationale)):
                    bears = RATIONALE  # what ends the rationale is learnt with it
                ids.append(token.id)
                segments.append(SEGMENTS.index(part.segment))
                loss.append(bears)
                origin.append(token.origin if part.segment == "rationale" else -1)
            seen_rationale |= part.segment == "rationale"
        last = max((i for i, bears in enumerate(loss) if bears), default=-1) + 1
        return Encoded(
            np.array(ids[:last], np.int32),
            np.array(segments[:last], np.int8),
            np.array(loss[:last], np.int8),
            np.array(origin[:last], np.int32),
        )


def _told_apart(
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    *,
    rationale: bool = True,
    kept: bool = False,
    step: str = "",
) -> list[Token]:
    """Tokens with the word, sentence, line and step in which each begins; offsets are places in the text (before its
    start for a leading space). Only tokens of a rationale have a place in it. kept: line breaks count, also as ends of
    sentences; step: the pattern of what begins a step."""
    words = [(m.end(), m.group()) for m in re.finditer(r"\w+(?:['’]\w+)*|[^\w\s]+", text)]
    ends = [m.end() for m in re.finditer(r"[.!?]+(?=\s|$)|\n" if kept else r"[.!?]+(?=\s|$)", text)]
    breaks = [m.end() for m in _LINE_BREAK.finditer(text)] if kept else []
    begins = [m.start() for m in re.finditer(step, text)] if step and rationale else []
    tokens, word, sentence, line = [], 0, 0, 0
    end = 0
    for place, (id, (low, high)) in enumerate(zip(ids, offsets, strict=True)):
        covered = text[max(low, 0) : high]
        first = low + len(covered) - len(covered.lstrip()) if low >= 0 else 0
        while word + 1 < len(words) and words[word][0] <= first:
            word += 1
        while sentence < len(ends) and ends[sentence] <= first:
            sentence += 1
        while line < len(breaks) and breaks[line] <= first:
            line += 1
        gap = kept and "\n" in covered and not covered.strip()
        # The white space between two tokens is the later one's; of several that spell one character, the first has it.
        piece = text[end:high] if place else text[:high].lstrip()
        end = max(end, high)
        tokens.append(
            Token(
                id, word, sentence, "" if gap else words[word][1] if words else text, place if rationale else -1, True,
                line, bisect_right(begins, first) if begins else line if breaks else sentence, intern(piece), gap,
            )
        )  # fmt: skip
    return tokens


def shortened(encoded: Encoded, limit: int, how: str) -> Encoded:
    """The sequence cut to `limit` tokens: from the question's start or the rationale's end; SequenceTooLong if that
    span cannot give so much.
    """
    over = len(encoded) - limit
    if over <= 0:
        return encoded
    places = np.flatnonzero(encoded.segments == SEGMENTS.index("question" if how == "question" else "rationale"))
    if how == "refuse" or len(places) <= over:
        raise SequenceTooLong(
            f"A sequence has {len(encoded)} tokens; the student reads {limit}.",
            "Choose truncate=question or truncate=rationale, a larger max_length, or a student that reads more.",
        )
    keep = np.ones(len(encoded), bool)
    keep[places[:over] if how == "question" else places[-over:]] = False
    return Encoded(encoded.ids[keep], encoded.segments[keep], encoded.loss[keep], encoded.origin[keep])


@lru_cache(maxsize=16)
def _read_tokenizer(path: str, _changed: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # tokenizers raises bare Exception
        raise StudentError(
            f"The tokenizer at {path} cannot be read: {error}", "Save the tokenizer again, or import the task again."
        ) from error
    # A question that spells out "<eos>" is text, not an end.
    tokenizer.encode_special_tokens = True
    # Saved with padding (left or right) or truncation switched on, it would fill or cut every span; batches are laid
    # out elsewhere.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _size(tokenizer: Tokenizer) -> int:
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def _specials(path: Path, tokenizer: Tokenizer) -> Specials:
    """From the student's own files where it has them, else from the built-in names."""
    ids: dict[str, int | None] = {
        "bos": None,
        "eos": tokenizer.token_to_id("<eos>"),
        "pad": tokenizer.token_to_id("<pad>"),
    }
    size = _size(tokenizer)
    for name in ("config.json", "tokenizer_config.json"):
        beside = path.with_name(name)
        if not beside.is_file():
            continue
        settings = json.loads(beside.read_text(encoding="utf-8"))
        for role in ids:
            value = settings.get(f"{role}_token_id", settings.get(f"{role}_token"))
            value = (
                value.get("content")
                if isinstance(value, dict)
                else value[0]
                if isinstance(value, list) and value
                else value
            )
            token = tokenizer.token_to_id(value) if isinstance(value, str) else value
            # Some configs write -1 for none, or name an id that the tokenizer does not have.
            ids[role] = token if isinstance(token, int) and 0 <= token < size else ids[role]
    # A start token is used only where the tokenizer itself puts one in front.
    front = tokenizer.encode("a", add_special_tokens=True).ids
    bos = front[0] if ids["bos"] is not None and front and front[0] == ids["bos"] else None
    if ids["eos"] is None:
        raise StudentError(f"The tokenizer at {path} names no end token.", "Set eos_token in tokenizer_config.json.")
    return Specials(bos, ids["eos"], ids["pad"] if ids["pad"] is not None else ids["eos"])
