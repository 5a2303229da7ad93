"""Test-time rationale tests: what is done to the rationale that a student reads before it answers. One function and one
entry each.

The student is trained already; only what it reads changes (Lanham et al. 2023, arXiv 2307.13702: cut short, mistakes
added; SCOTT, arXiv
2305.01879: replaced by random tokens). Where a transform of the same name exists it does the work. Every perturbation
tells how many tokens of the intact rationale it touched: the control is the same number of them replaced by random
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cotdistill.config import stable_seed
from cotdistill.errors import UsageError
from cotdistill.rationales import transforms
from cotdistill.rationales.passage import Corpus, Passage, Token, Unit, joined, units
from cotdistill.rationales.transforms import Draw, mentions
from cotdistill.registry import Registry

# Shares of a rationale that the graded tests touch; none of it is the intact rationale, which every curve begins with.
SHARES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class PerturbationRows:
    """The rationales that are perturbed, and what may be drawn on. unigrams: every token of the training rationales;
    types: words that name the latent type (generated tasks, else none); paraphrases: of each rationale, an empty one
    where nobody wrote it, none at all unless asked for."""

    corpus: Corpus
    unigrams: npt.NDArray[np.int64]
    types: tuple[str, ...] = ()
    seed: int = 0
    paraphrases: tuple[Passage, ...] = ()

    def passage(self, index: int) -> Passage:
        return self.corpus.passages[index]

    def rng(self, what: str, index: int) -> np.random.Generator:
        """A generator of its own for each test and example: it knows neither student nor share."""
        return np.random.default_rng(stable_seed("perturbation", what, self.seed, self.corpus.examples[index].id))


@dataclass(frozen=True, slots=True)
class Perturbed:
    """A rationale after a test. touched: how many tokens of the intact one were cut, moved or replaced; 0 where the
    test cannot be made.
    """

    passage: Passage
    touched: int


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A registered test. graded: it is made at several shares, else at one point (share 1). generated: it needs to know
    the latent type. named: it is made only where it is asked for by its name."""

    name: str
    help: str
    apply: Callable[[PerturbationRows, int, float], Perturbed]
    graded: bool = False
    generated: bool = False
    named: bool = False


PERTURBATIONS: Registry[Perturbation] = Registry("test of a rationale")
# The control of all others: as many tokens replaced by random ones.
CONTROL = "replace"


def truncate(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    passage = rows.passage(index)
    touched = round(share * len(passage))
    kept = (len(passage) - touched) / max(1, len(passage))
    return Perturbed(
        transforms.truncate(passage, _draw(rows, index), keep="first", fraction=kept, unit="token"), touched
    )


def shuffle(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    passage = rows.passage(index)
    return Perturbed(
        transforms.shuffle(passage, _draw(rows, index), unit="token", fraction=share), round(share * len(passage))
    )


def replace_share(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    touched = round(share * len(rows.passage(index)))
    return Perturbed(replaced(rows, index, touched), touched)


def replaced(rows: PerturbationRows, index: int, number: int) -> Passage:
    """`number` tokens replaced by other ones, drawn from the training rationales. Of one example, fewer are a part of
    more.
    """
    passage, rng = rows.passage(index), rows.rng("replace", index)
    order = rng.permutation(len(passage))
    drawn = rng.choice(rows.unigrams, size=len(passage)) if len(rows.unigrams) else np.zeros(len(passage), np.int64)
    ids = np.array([token.id for token in passage], np.int64)
    # A token that is drawn for itself is drawn again, so that the number is exact; a vocabulary of one word must end
    # too.
    for _ in range(100):
        same = np.flatnonzero(drawn == ids)
        if not len(same) or not len(rows.unigrams):
            break
        drawn[same] = rng.choice(rows.unigrams, size=len(same))
    tokens = list(passage)
    for place in order[:number]:
        tokens[place] = Token(int(drawn[place]), passage[place].word, passage[place].sentence, "", -1)
    return tuple(tokens)


def mistake(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    return _wrong_choice(rows, index, every=False)


def mistakes(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    return _wrong_choice(rows, index, every=True)


def _wrong_choice(rows: PerturbationRows, index: int, *, every: bool) -> Perturbed:
    """The choice that the rationale names (the right one if it does, else the one named first) becomes another, wrong
    one.
    """
    passage, example = rows.passage(index), rows.corpus.examples[index]
    words = units(passage, "word")
    named = [
        (runs[0][0], c, runs) for c, choice in enumerate(example.choices) if (runs := mentions(words, choice.text))
    ]
    if not named:
        return Perturbed(passage, 0)
    _, chosen, runs = next((one for one in named if one[1] == example.gold), min(named))
    said = example.choices[chosen].text.casefold()
    wrong = [c.text for i, c in enumerate(example.choices) if i != example.gold and c.text.casefold() != said]
    if not wrong:
        return Perturbed(passage, 0)
    text = wrong[int(rows.rng("mistake", index).integers(len(wrong)))]
    return _with_text(words, runs if every else runs[:1], rows.corpus.read(text))


def wrong_type(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    """The latent type that the rationale names first becomes another one, wherever it stands."""
    passage = rows.passage(index)
    words = units(passage, "word")
    named = [(runs[0][0], name, runs) for name in rows.types if (runs := mentions(words, name))]
    if not named or len(rows.types) < 2:
        return Perturbed(passage, 0)
    _, said, runs = min(named)
    others = [name for name in rows.types if name != said]
    return _with_text(words, runs, rows.corpus.read(others[int(rows.rng("type", index).integers(len(others)))]))


def swap_same(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    return _swapped(rows, index, "same_label")


def swap_other(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    return _swapped(rows, index, "other_label")


def _swapped(rows: PerturbationRows, index: int, partner: str) -> Perturbed:
    passage = rows.passage(index)
    other = transforms.swap(passage, _draw(rows, index), partner=partner) if passage else ()
    # Without a partner the rationale stays: an empty one would be another test.
    return Perturbed(other, len(passage)) if other else Perturbed(passage, 0)


def strip_labels(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    passage = rows.passage(index)
    stripped = transforms.strip_labels(passage, _draw(rows, index))
    return Perturbed(stripped, len(passage) - len(stripped))


def paraphrase(rows: PerturbationRows, index: int, share: float) -> Perturbed:
    passage, other = rows.passage(index), rows.paraphrases[index] if rows.paraphrases else ()
    # The same words over again are no other ones.
    changed = passage and other and [token.id for token in other] != [token.id for token in passage]
    return Perturbed(other, len(passage)) if changed else Perturbed(passage, 0)


def _draw(rows: PerturbationRows, index: int) -> Draw:
    return Draw.of(rows.corpus, index, rows.seed)


def _with_text(words: Sequence[Unit], runs: Sequence[Sequence[int]], text: Passage) -> Perturbed:
    """The words of some runs replaced by a text, each run once; runs that overlap an earlier one stay as they are."""
    foreign = [replace(token, origin=-1) for token in text]
    gone: set[int] = set()
    starts: set[int] = set()
    for run in runs:
        if gone.isdisjoint(run):
            gone |= set(run)
            starts.add(run[0])
    parts = [
        word.filled(foreign if i in starts else ()) if i in starts | gone else word for i, word in enumerate(words)
    ]
    return Perturbed(joined(parts), sum(len(words[i]) for i in gone))


for _entry in (
    Perturbation("truncate", "cut from its end", truncate, graded=True),
    Perturbation("shuffle", "tokens in another order", shuffle, graded=True),
    Perturbation(
        CONTROL,
        "tokens replaced by random ones of the training rationales; the control of the others",
        replace_share,
        graded=True,
    ),
    Perturbation("mistake", "the choice that it names becomes another, wrong one, at its first mention", mistake),
    Perturbation("mistakes", "the same at every mention", mistakes),
    Perturbation(
        "wrong_type", "generated task: the group that it names becomes another one", wrong_type, generated=True
    ),
    Perturbation("swap_same", "the rationale of another question with the same answer", swap_same),
    Perturbation("swap_other", "the rationale of a question with another answer", swap_other),
    Perturbation("strip_labels", "the text of every choice removed", strip_labels),
    Perturbation(
        "paraphrase",
        "the teacher's said in other words: by the rules of a generated task, else by another source",
        paraphrase,
        named=True,
    ),
):
    PERTURBATIONS.register(_entry)


def checked_tests(names: Sequence[str], *, generated: bool) -> tuple[str, ...]:
    """The tests of these names in the order of the registry, each once; all that need no naming if none is named.
    UnknownName, or UsageError for one that only a generated task allows."""
    wanted = {PERTURBATIONS.get(name).name for name in names} or {
        p.name for p in PERTURBATIONS if not p.named and (generated or not p.generated)
    }
    for name in sorted(wanted):
        if PERTURBATIONS.get(name).generated and not generated:
            raise UsageError(
                f"The test {name} needs a generated task: elsewhere nobody knows which words name the latent type.",
                "Leave it out.",
            )
    return tuple(p.name for p in PERTURBATIONS if p.name in wanted)
