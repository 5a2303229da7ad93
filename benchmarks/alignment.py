"""Does training-signal alignment single out the words that carry the latent type? On a finished study of the generated task.

    python benchmarks/alignment.py [STUDY] [--examples 120] [--conditions post_cot,...] [--json FILE]

For every replicate of a condition the same training examples, at each recorded checkpoint. Printed, each with n and a 95 % interval over replicates
and clusters of questions at once (crossed random effects, as for accuracies): the mean alignment (matched minus random) by kind of word; how often a
type word stands above another token of its rationale (AUC, .5 is chance), by the value, by its cosine, for the first type word of a rationale alone
and for later ones alone; and how well alignment ranks the effect of real AdamW steps on 40 tokens (each replicate's rank correlation, t interval).
The label's own text is left out of every AUC. A mean is over examples, of each example's mean over its tokens of that kind.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cotdistill.config import stable_seed  # noqa: E402
from cotdistill.execution.jobs.analysis import AnalysisRequest  # noqa: E402
from cotdistill.execution.jobs.influence import alignment, kinds, separations, summary  # noqa: E402
from cotdistill.rationales.conditions import parse_list  # noqa: E402
from cotdistill.statistics.intervals import Interval, mean_interval, numbered, over_replicates  # noqa: E402
from cotdistill.store.store import Store  # noqa: E402
from cotdistill.studies.analyses.influence import InfluenceConfig  # noqa: E402
from cotdistill.studies.inspection_jobs import checkpoints, task_of  # noqa: E402

CONDITIONS = "post_cot,post_cot/shuffle(unit=token,fraction=1.0),pre_cot"
KINDS = ("role: type", "role: value", "other content words", "function words", "the label's text")


def aligned(store: Store, study: str, condition: str, examples: int) -> pd.DataFrame:
    """The alignment of the same examples by every replicate, with a column `replicate`."""
    found = []
    for member in store.queue.study(study).members:
        if member.role != "run" or member.condition != condition:
            continue
        job = store.queue.job(member.job_id)
        train = sorted(task_of(store, job).examples("train"), key=lambda e: stable_seed("aligned", e.id))
        config = InfluenceConfig(
            job.identity, "train", tuple(e.id for e in train[:examples]), tuple(checkpoints(job)), steps=40
        )
        found.append(alignment(AnalysisRequest(store, config)).tables["alignment"].assign(replicate=member.replicate))
    return pd.concat(found, ignore_index=True)


def first_type(part: pd.DataFrame, *, later: bool) -> pd.DataFrame:
    """The tokens without the first type word of each rationale, or without all others."""
    types = part[part["role"] == "type"].sort_values("column")
    first = types.index[~types.duplicated("example")]
    return part.drop(first if later else types.index.difference(first))


def crossed(part: pd.DataFrame, of: Callable[[pd.DataFrame], pd.DataFrame]) -> dict[str, Any] | None:
    """A number an example (columns example, cluster, and it), averaged over replicates and the examples that all of them have."""
    tables = [of(own).set_index("example") for _, own in part.groupby("replicate")]
    shared = sorted(set.intersection(*(set(one.index) for one in tables)))
    if not shared:
        return None
    clusters = [str(name) for name in tables[0].loc[shared, "cluster"]]
    values = np.array([one.loc[shared].iloc[:, -1].to_numpy(float) for one in tables])
    return {
        **told(mean_interval(values, numbered(clusters), nested=False)),
        "examples": len(shared),
        "clusters": len(set(clusters)),
    }


def told(found: Interval) -> dict[str, Any]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


def means(kind: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def of(part: pd.DataFrame) -> pd.DataFrame:
        own = dict(kinds(part)).get(kind, part.iloc[:0])
        return own.groupby("example", as_index=False).agg(cluster=("cluster", "first"), value=("value", "mean"))

    return of


def measured(part: pd.DataFrame) -> dict[str, Any]:
    """Everything of one condition at one checkpoint."""
    aucs: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "by value": separations,
        "by cosine": lambda own: separations(own, "cosine_value"),
        "first type word": lambda own: separations(first_type(own, later=False)),
        "later type words": lambda own: separations(first_type(own, later=True)),
        "against other content words": lambda own: separations(
            own[(own["role"] == "type") | (own["word_class"] == "content")]
        ),
    }
    steps = [summary(own)["checkpoints"][0]["adam_step"] for _, own in part.groupby("replicate")]
    agreement = {
        name: told(over_replicates(np.array(values)))
        if len(values) > 1
        else {"mean": values[0] if values else None, "low": None, "high": None}
        for name in ("raw", "adam", "raw_small", "adam_small")
        if (values := [one[name] for one in steps if one[name] is not None]) is not None
    }
    tokens = {kind: len(own) for kind, own in kinds(part)}
    loss = {kind: float(own["loss"].mean()) for kind, own in kinds(part)}
    types = part[part["role"] == "type"].sort_values("column")
    first = ~types.duplicated(["replicate", "example"])
    return {
        "replicates": int(part["replicate"].nunique()),
        "means": {
            kind: {**found, "tokens": tokens.get(kind, 0), "loss": loss[kind]}
            for kind in KINDS
            if (found := crossed(part, means(kind)))
        },
        "auc": {name: crossed(part, of) for name, of in aucs.items()},
        "type_loss": {
            "first": float(types.loc[first, "loss"].mean()),
            "later": float(types.loc[~first, "loss"].mean()),
        },
        "agreement": agreement,
    }


def shown(found: dict[str, Any] | None, digits: int = 3) -> str:
    if found is None or found["mean"] is None:
        return "none"
    reach = "" if found["low"] is None else f" ({found['low']:.{digits}f} to {found['high']:.{digits}f})"
    n = f", {found['examples']} examples in {found['clusters']} clusters" if "examples" in found else ""
    return f"{found['mean']:.{digits}f}{reach}{n}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default="starter")
    parser.add_argument("--examples", type=int, default=120)
    parser.add_argument(
        "--conditions",
        default=CONDITIONS,
        help="comma list of canonical conditions (commas in brackets do not separate)",
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    store, entries = Store.open(), []
    for condition in map(str, parse_list(arguments.conditions)):
        for share, part in aligned(store, arguments.study, condition, arguments.examples).groupby(
            "checkpoint", sort=False
        ):
            found = measured(part)
            entries.append({"condition": condition, "checkpoint": share, **found})
            print(f"\n{condition} at {100 * float(share):g} % of the steps, {found['replicates']} replicates")
            for kind, mean in found["means"].items():
                print(f"  {kind:28} {mean['tokens']:>6} tokens, loss {mean['loss']:.3f}, mean {shown(mean)}")
            for name, auc in found["auc"].items():
                print(f"  AUC {name:28} {shown(auc)}")
            print(
                f"  loss of the first type word {found['type_loss']['first']:.3f}, of later ones {found['type_loss']['later']:.3f}"
            )
            print(
                "  real AdamW step: "
                + "; ".join(f"{name} {shown(one, 2)}" for name, one in found["agreement"].items()),
                flush=True,
            )
            if arguments.json:
                arguments.json.write_text(json.dumps(entries, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
