"""Scores that need words only: rarity, association with the answer, likeness to question and answer. Every word shares
its score out evenly over its tokens, so that a word of many tokens is not favoured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cotdistill.errors import DataError, UsageError
from cotdistill.keytokens.spans import word_spans
from cotdistill.rationales.passage import Passage, units
from cotdistill.rationales.words import is_function_word
from cotdistill.tasks.example import Example

Scores = dict[str, tuple[float, ...]]
Vector = npt.NDArray[np.float64]
Vectors = dict[str, Vector]
INSTALL = ".venv/bin/python -m pip install -c constraints.txt -r requirements-keytokens.txt"


def shared_out(passage: Passage, score: Callable[[str], float]) -> tuple[float, ...]:
    """(tokens,) each word's score over the number of its tokens."""
    values: list[float] = []
    for word in units(passage, "word"):
        value = score(word[0].text.casefold())
        values += [value / len(word)] * len(word)
    return tuple(values)


def words_of(passage: Passage) -> list[str]:
    return [word[0].text.casefold() for word in units(passage, "word")]


def tf_idf(examples: Sequence[Example], passages: Sequence[Passage]) -> Scores:
    """Count in this rationale x log(rationales / rationales that hold the word) (Spärck Jones 1972)."""
    held = Counter(word for passage in passages for word in set(words_of(passage)))
    scores = {}
    for example, passage in zip(examples, passages, strict=True):
        counts = Counter(words_of(passage))
        weights = {word: count * math.log(len(passages) / held[word]) for word, count in counts.items()}
        scores[example.id] = shared_out(passage, weights.__getitem__)
    return scores


def pmi(examples: Sequence[Example], passages: Sequence[Passage]) -> Scores:
    """log p(word, answer) / (p(word) p(answer)) over rationales, counting those that hold the word. Half a count is
    added to those with the answer and half to those without: a word met once proves little."""
    answers = Counter(e.answer_text.casefold() for e in examples)
    held = Counter(word for passage in passages for word in set(words_of(passage)))
    joint = Counter(
        (word, e.answer_text.casefold())
        for e, passage in zip(examples, passages, strict=True)
        for word in set(words_of(passage))
    )
    n = len(examples)
    scores = {}
    for example, passage in zip(examples, passages, strict=True):
        answer = example.answer_text.casefold()

        def score(word: str, answer: str = answer) -> float:
            return math.log((joint[word, answer] + 0.5) * n / ((held[word] + 1) * answers[answer]))

        scores[example.id] = shared_out(passage, score)
    return scores


def similarity(
    examples: Sequence[Example],
    passages: Sequence[Passage],
    vector: Callable[[str], Vector | None],
    by_ids: Callable[[Sequence[int]], Vector] | None = None,
) -> Scores:
    """Cosine of each word's vector to that of question and right answer. by_ids: the vector of a word from its token
    ids, where there is one.
    """
    cache: dict[tuple[int, ...] | str, Vector | None] = {}
    scores = {}
    for example, passage in zip(examples, passages, strict=True):
        whole = vector(f"{example.question} {example.answer_text}")
        row: list[float] = []
        for word in units(passage, "word"):
            key: tuple[int, ...] | str = tuple(t.id for t in word) if by_ids else word[0].text
            if key not in cache:
                cache[key] = by_ids([t.id for t in word]) if by_ids else vector(word[0].text)
            row += [_cosine(cache[key], whole) / len(word)] * len(word)
        scores[example.id] = tuple(row)
    return scores


def _cosine(first: Vector | None, second: Vector | None) -> float:
    if first is None or second is None:
        return 0.0
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / size if size > 0 else 0.0


def by_vectors(examples: Sequence[Example], passages: Sequence[Passage], vectors: Vectors) -> Scores:
    """Likeness by word vectors: a text's is the mean of its content words', a word without a vector scores 0."""

    def vector(text: str) -> Vector | None:
        words = [word for word in _split(text) if word in vectors]
        content = [word for word in words if not is_function_word(word)] or words
        return np.mean([vectors[word] for word in content], axis=0) if content else None

    return similarity(examples, passages, vector)


def _split(text: str) -> list[str]:
    """The words of a text as a rationale's are told apart, case folded, without punctuation: "well-known" is two."""
    return [
        word.casefold() for start, end in word_spans(text) if (word := text[start:end])[0].isalnum() or word[0] == "_"
    ]


def vocabulary(examples: Sequence[Example]) -> set[str]:
    """Every word of questions, choices and rationales."""
    return {
        w
        for e in examples
        for text in (e.question, e.rationale or "", *(c.text for c in e.choices))
        for w in _split(text)
    }


def read_vectors(name: str, wanted: set[str]) -> Vectors:
    """The vectors of the wanted words from a text file, `word number number ...` a line (GloVe), with or without a
    first line `count size` (word2vec). A word may hold spaces, as some of GloVe's do. DataError with the line for what
    cannot be read."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", "Name a file with word vectors in word2vec or GloVe text format.")
    by_word: Vectors = {}
    size = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                parts = line.rstrip("\r\n ").split(" ")
                if number == 1 and len(parts) == 2 and all(part.isdecimal() for part in parts):
                    size = int(parts[1])
                    continue
                size = size or len(parts) - 1
                if len(parts) <= size or not size:
                    raise DataError(
                        f"{path} line {number} has {len(parts) - 1} numbers; expected {size or 'some'}.",
                        "Expected word number number ...",
                    )
                word = " ".join(parts[:-size]).casefold()
                if word in wanted and word not in by_word:
                    by_word[word] = _numbers(parts[-size:], path, number)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} cannot be read as word vectors: {error}", "Expected text, one word a line with its numbers."
        ) from error
    if not by_word:
        raise DataError(
            f"{path} has a vector for none of the {len(wanted):,} words of this task.",
            "Choose vectors of the same language.",
        )
    return by_word


def _numbers(parts: Sequence[str], path: Path, line: int) -> Vector:
    try:
        vector = np.array([float(part) for part in parts])
    except ValueError as error:
        raise DataError(
            f"{path} line {line} cannot be read as a word vector: {error}", "Expected word number number ..."
        ) from error
    if not np.isfinite(vector).all():
        raise DataError(
            f"{path} line {line} cannot be read as a word vector: not all numbers are finite.",
            "Make the vectors again.",
        )
    return vector


def trained_vectors(examples: Sequence[Example]) -> Vectors:
    """word2vec on the task's own questions and rationales; the same vectors every time."""
    try:
        from gensim.models import Word2Vec  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError("The selector word2vec needs gensim, which is not installed.", INSTALL) from None
    sentences = [_split(f"{e.question} {e.answer_text} {e.rationale or ''}") for e in examples]
    model = Word2Vec(sentences, vector_size=64, window=5, min_count=1, workers=1, seed=0, epochs=20)
    return {word: np.asarray(model.wv[word], float) for word in model.wv.index_to_key}


def sentence_vectors(name: str) -> Callable[[str], Vector | None]:
    """Text -> vector by a sentence-transformers model, by name or folder; nothing of it is run as code."""
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError(
            "The selector sentence_transformer needs sentence-transformers, which is not installed.", INSTALL
        ) from None
    try:
        model = SentenceTransformer(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The model {name!r} cannot be loaded: {str(error).splitlines()[0]}",
            "Name a folder, or a model that can be reached.",
        ) from error

    def vector(text: str) -> Vector | None:
        return np.asarray(model.encode(text, show_progress_bar=False), float)

    return vector
