"""Training-signal alignment: one row per rationale token and checkpoint, and what it says by kind of word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from cotdistill.errors import NotReadable
from cotdistill.execution.jobs.analysis import Analysed, AnalysisRequest, clustered_mean
from cotdistill.execution.open_student import Opened, training_corpus
from cotdistill.rationales.words import is_function_word
from cotdistill.saliency.influence import Aligned, Aligner, align_all
from cotdistill.saliency.reading import pieces
from cotdistill.students.batches import Stream, weighted
from cotdistill.students.tokens import Encoded, shortened
from cotdistill.studies.analyses.influence import InfluenceConfig
from cotdistill.studies.inspection_jobs import named_examples, source_of
from cotdistill.tasks.example import Example
from cotdistill.tasks.importing.roles import ROLES, word_roles

# Real training batches from which AdamW's moments are taken.
BATCHES = 8
# A real step is tried at the run's highest learning rate and at this share of it, where it is nearly a first-order
# matter.
SMALL = 0.01


def alignment(request: AnalysisRequest[InfluenceConfig]) -> Analysed:
    """The analysis `influence`: table "alignment", one row per rationale token and checkpoint."""
    config = request.config
    parts = []
    total = len(config.checkpoints) * len(config.examples)
    for place, share in enumerate(config.checkpoints):
        opened = request.open(share, role=f"weights@{share}")

        def tell(done: int, _: int, before: int = place * len(config.examples)) -> None:
            request.report(before + done, total)

        parts.append(_at(opened, config, tell))
    frame = pd.concat(parts, ignore_index=True)
    return Analysed({"alignment": frame}, summary(frame))


def sequences_of(opened: Opened, split: str, ids: Sequence[str]) -> list[tuple[Example, Encoded]]:
    """The training sequences of some examples under the run's own condition: the one that holds the rationale.

    Of the training split they are those that the student was trained on; rows that the study left out have none and are
    not given.
    """
    corpus = (
        training_corpus(opened)
        if split == "train"
        else opened.encoder.corpus(opened.task.examples(split, source_of(opened.job) or None))
    )
    places = {example.id: place for place, example in enumerate(corpus.examples)}
    sequences = []
    for example in named_examples(opened.task, split, ids, source_of(opened.job)):
        if example.id in places:
            encoded = opened.encoder.sequences(corpus, places[example.id], opened.condition, opened.run.seeds.transform)
            sequences.append((example, shortened(encoded[-1], opened.limit, opened.run.student.truncate)))
    return sequences


def aligner_of(opened: Opened, parameters: str, *, moments: bool = True) -> Aligner:
    """The student with its dev questions and, for AdamW, some of its real training batches."""
    dev = opened.task.examples("dev", source_of(opened.job) or None)
    batches = []
    if moments:
        corpus = training_corpus(opened)
        training = opened.run.training
        # Any order will do here, so lengths are all called the same.
        stream = Stream([1] * len(corpus.examples), training.batch_size, opened.run.seeds.order)
        for step in range(BATCHES):
            pools = [
                opened.encoder.sequences(corpus, i, opened.condition, opened.run.seeds.transform)
                for i, _ in stream.step(step)
            ]
            cut = [
                [shortened(one, opened.limit, opened.run.student.truncate) for one in sequences] for sequences in pools
            ]
            batches.append([row for sequences in cut for row in weighted(sequences, training)])
    return Aligner(
        opened.model, opened.encoder, opened.condition.spec, dev,
        metric=opened.metric, parameters=parameters, batches=batches, training=opened.run.training, draw="each",
    )  # fmt: skip


def _at(opened: Opened, config: InfluenceConfig, tell: Callable[[int, int], None]) -> pd.DataFrame:
    aligner = aligner_of(opened, config.parameters)
    sequences = sequences_of(opened, config.split, config.examples)
    if not sequences:
        raise NotReadable(
            f"Run {opened.job.id} was trained on none of the {len(config.examples):,} examples asked for"
            f" ({opened.condition.label}).",
            "Ask for more examples, or for some that it has seen, by their ids.",
        )
    aligned = align_all(aligner, sequences, tell)
    by_id = {example.id: (example, sequence) for example, sequence in sequences}
    rates = [share * opened.run.training.lr for share in (1.0, SMALL)]
    at_full, at_small = _real_steps(aligner, aligned, by_id, config.steps, rates)
    frame = pd.concat([rows_of(opened, one) for one in aligned], ignore_index=True)
    return frame.assign(adam_step=at_full, adam_step_small=at_small)


def _real_steps(
    aligner: Aligner,
    aligned: Sequence[Aligned],
    by_id: dict[str, tuple[Example, Encoded]],
    wanted: int,
    rates: Sequence[float],
) -> npt.NDArray[np.float64]:
    """(rates, tokens of all examples): what real AdamW steps did to the own label loss, for some `wanted` tokens spread
    over the examples.
    """
    every = [(place, k) for place, one in enumerate(aligned) for k in range(len(one.columns))]
    values = np.full((len(rates), len(every)), np.nan)
    for at in np.unique(np.linspace(0, len(every) - 1, min(wanted, len(every))).round().astype(int)):
        place, k = every[at]
        example, sequence = by_id[aligned[place].id]
        for row, rate in enumerate(rates):
            values[row, at] = aligner.adamw_step(example, sequence, aligned[place].columns[k : k + 1], rate)[0]
    return values


def rows_of(opened: Opened, aligned: Aligned) -> pd.DataFrame:
    """One example's tokens as rows; see studies.analyses.influence.COLUMNS (all but those of real steps)."""
    roles = word_roles(opened.task)
    words = aligned.words
    return pd.DataFrame(
        {
            "example": aligned.id,
            "cluster": aligned.cluster,
            "checkpoint": opened.checkpoint,
            "column": aligned.columns,
            "origin": aligned.origin,
            "token": aligned.ids,
            "text": pieces(opened.encoder, aligned.ids.tolist()),
            "word_text": words,
            "word_class": ["" if not w else "function" if is_function_word(w) else "content" for w in words],
            "role": [roles.get(w.casefold(), "other") if roles and w else "" for w in words],
            "label_text": aligned.label_text,
            "loss": aligned.loss,
            "norm": aligned.norm,
            "own": aligned.raw[0],
            "matched": aligned.raw[1],
            "random": aligned.raw[2],
            "value": aligned.value,
            "cosine": aligned.cosine[0],
            "cosine_value": aligned.cosine[1] - aligned.cosine[2],
            "adam": aligned.adam[0],
            "adam_value": aligned.adam[1] - aligned.adam[2],
        }
    )


def summary(frame: pd.DataFrame) -> dict[str, Any]:
    """By checkpoint: the mean value of all tokens but the label's own text, of those, of each word class and role, each
    with a 95 % interval over clusters and the share above zero; how well the value tells type words from the rest; and
    the rank agreement with real AdamW steps."""
    return {
        "examples": int(frame["example"].nunique()),
        "clusters": int(frame["cluster"].nunique()),
        "tokens": int(len(frame) / max(1, frame["checkpoint"].nunique())),
        "checkpoints": [_summed(str(share), part) for share, part in frame.groupby("checkpoint", sort=False)],
    }


def kinds(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The tokens that have a value, by kind, each kind with its name; a kind without tokens is left out."""
    part = part[part["value"].notna()]
    rest = part[~part["label_text"]]
    parts = [("all but the label's text", rest), ("the label's text", part[part["label_text"]])]
    parts += [(f"{name} words", rest[rest["word_class"] == name]) for name in ("content", "function")]
    if (rest["role"] != "").any():
        parts += [(f"role: {name}", rest[rest["role"] == name]) for name in ROLES]
        parts.append(("other content words", rest[(rest["role"] == "other") & (rest["word_class"] == "content")]))
    return [(name, own) for name, own in parts if len(own)]


def _summed(share: str, part: pd.DataFrame) -> dict[str, Any]:
    tried = part[part["adam_step"].notna() & part["adam"].notna()]
    return {
        "checkpoint": share,
        "groups": [
            {
                "group": name,
                "tokens": len(own),
                "positive": float((own["value"] > 0).mean()),
                **clustered_mean(own["value"].to_numpy(), list(own["cluster"])),
            }
            for name, own in kinds(part)
        ],
        "type_words": _separation(part),
        "adam_step": {
            "tokens": len(tried),
            "raw": _rank(tried["own"], tried["adam_step"]),
            "adam": _rank(tried["adam"], tried["adam_step"]),
            "raw_small": _rank(tried["own"], tried["adam_step_small"]),
            "adam_small": _rank(tried["adam"], tried["adam_step_small"]),
        },
    }


def separations(part: pd.DataFrame, column: str = "value") -> pd.DataFrame:
    """By rationale (example, cluster, auc): how often a type word stands above another token, the label's own text
    aside (.5 is chance).
    """
    rows = []
    for example, one in part[part[column].notna() & ~part["label_text"]].groupby("example", sort=False):
        inside, others = (
            one.loc[one["role"] == "type", column].to_numpy(),
            one.loc[one["role"] != "type", column].to_numpy(),
        )
        if len(inside) and len(others):
            wins = (inside[:, None] > others[None]).mean() + 0.5 * (inside[:, None] == others[None]).mean()
            rows.append({"example": example, "cluster": str(one["cluster"].iloc[0]), "auc": float(wins)})
    return pd.DataFrame(rows, columns=["example", "cluster", "auc"])


def _separation(part: pd.DataFrame) -> dict[str, Any] | None:
    """The mean of `separations` with its interval over clusters; None where no rationale has both kinds."""
    rows = separations(part)
    if rows.empty:
        return None
    interval = clustered_mean(rows["auc"].to_numpy(), list(rows["cluster"]))
    return {
        "examples": len(rows),
        "clusters": int(rows["cluster"].nunique()),
        "auc": interval["mean"],
        "low": interval["low"],
        "high": interval["high"],
    }


def _rank(first: pd.Series[float], second: pd.Series[float]) -> float | None:
    if len(first) < 3 or first.nunique() < 2 or second.nunique() < 2:
        return None
    return float(spearmanr(first, second).statistic)
