"""Full-text choice scoring: each choice's text given the question, the question given the choice, and the text given
nothing (arXiv 2004.14074).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import choice_scores
from cotdistill.students.scoring.scorers import Likelihoods
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

# Rows between two reports, so that a job can be stopped.
ROWS = 512


def likelihoods(
    reader: Forward,
    encoder: Encoder,
    examples: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    report: Callable[[int, int], None] | None = None,
) -> list[Likelihoods]:
    """What every scorer is made of, for each example; prompts: as the student is asked, up to the answer cue (see
    evaluation.asked).

    Labels are scored as `evaluation.score` does. The question alone, without its list of choices, is scored after the
    answer cue and a choice; one that is too long for the student loses its first tokens.
    """
    pad = encoder.specials.pad
    labels = [encoder.targets(example) for example in examples]
    texts = [
        [[token.id for token in encoder.target(choice.text)] for choice in example.choices] for example in examples
    ]
    backwards = [
        _backwards(encoder, example, i, reader.positions) for example in examples for i in range(len(example.choices))
    ]
    total = 3 + len(range(0, len(backwards), ROWS))
    done = 0

    def one_done() -> None:
        nonlocal done
        done += 1
        if report:
            report(done, total)

    by_label = choice_scores(reader, prompts, labels, pad)
    one_done()
    by_text = by_label if labels == texts else choice_scores(reader, prompts, texts, pad)
    one_done()
    distinct = sorted({tuple(ids) for options in texts for ids in options})
    bare = encoder.prompt(examples[0], ("label_cue",))
    alone = {
        ids: row[0]
        for ids, row in zip(
            distinct, choice_scores(reader, [bare] * len(distinct), [[ids] for ids in distinct], pad), strict=True
        )
    }
    one_done()
    asked: list[float] = []
    for start in range(0, len(backwards), ROWS):
        part = backwards[start : start + ROWS]
        asked += [
            row[0]
            for row in choice_scores(reader, [before for before, _ in part], [[question] for _, question in part], pad)
        ]
        one_done()
    scores, at = [], 0
    for example, label, text, ids in zip(examples, by_label, by_text, texts, strict=True):
        n = len(ids)
        scores.append(
            Likelihoods(
                np.array(label),
                np.array(text),
                np.array([alone[tuple(one)] for one in ids]),
                np.array(asked[at : at + n]),
                np.array([len(one) for one in ids], float),
                _sizes([choice.text for choice in example.choices]),
                _sizes(encoder.template.target_texts(example)),
            )
        )
        at += n
    return scores


def _backwards(encoder: Encoder, example: Example, choice: int, positions: int) -> tuple[list[int], list[int]]:
    """The ids of the answer cue with one choice behind it, and of the question that they are to foretell."""
    parts = encoder.parts(example, ("label_cue", "label", "question"), encoder.target(example.choices[choice].text), ())
    before, question = [t.id for part in parts[:-1] for t in part.tokens], [t.id for t in parts[-1].tokens]
    return before, question[max(0, len(before) + len(question) - 1 - positions) :]


def _sizes(texts: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([len(text.encode()) for text in texts], float)
