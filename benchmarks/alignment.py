"""Does training-signal alignment single out the words that carry the latent type? On a finished study of the generated task.

    python benchmarks/alignment.py [STUDY] [--examples 120] [--conditions post_cot,...] [--json FILE]

For every replicate of a condition the training examples are spread over the creatures; at each recorded checkpoint it prints the mean alignment
(matched minus random, all tokens but the label's own text) of type words and of all others, and how often a type word stands above another
token of its rationale (AUC, .5 is chance), over replicates with a t interval.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cotdistill.config import stable_seed  # noqa: E402
from cotdistill.studies.look_influence import summary, table  # noqa: E402
from cotdistill.studies.looks import InfluenceConfig, checkpoints, task_of  # noqa: E402
from cotdistill.studies.store import Store  # noqa: E402

CONDITIONS = "post_cot,post_cot/shuffle(unit=token,fraction=1.0),pre_cot"


def measured(store: Store, study: str, condition: str, examples: int) -> list[dict]:
    """One entry a replicate and checkpoint."""
    found = []
    for member in store.queue.study(study).members:
        if member.role != "run" or member.condition != condition:
            continue
        job = store.queue.job(member.job_id)
        train = sorted(task_of(store, job).examples("train"), key=lambda e: stable_seed("aligned", e.id))
        config = InfluenceConfig(job.identity, "train", tuple(e.id for e in train[:examples]), tuple(checkpoints(job)), steps=40)
        frame, _ = table(store, config)
        for at in summary(frame)["checkpoints"]:
            groups = {g["group"]: g["mean"] for g in at["groups"]}
            found.append(
                {
                    "condition": condition, "replicate": member.replicate, "checkpoint": at["checkpoint"],
                    "type": groups.get("role: type"), "other": groups.get("role: other"), "label_text": groups.get("the label's text"),
                    "auc": at["type_words"]["auc"], "clusters": at["type_words"]["clusters"], "examples": at["type_words"]["examples"],
                    "step_raw": at["adam_step"]["raw"], "step_adam": at["adam_step"]["adam"],
                }
            )  # fmt: skip
    return found


def interval(values: pd.Series) -> str:
    """Mean and t interval over replicates."""
    array = values.dropna().to_numpy(dtype=float)
    if len(array) < 2:
        return f"{array.mean():.3f}"
    reach = stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array))
    return f"{array.mean():.3f} ({array.mean() - reach:.3f} to {array.mean() + reach:.3f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default="starter")
    parser.add_argument("--examples", type=int, default=120)
    parser.add_argument("--conditions", default=CONDITIONS, help="comma list of canonical conditions (commas in brackets do not separate)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    store = Store.open()
    from cotdistill.rationales.conditions import parse_list

    rows = [row for condition in parse_list(arguments.conditions) for row in measured(store, arguments.study, str(condition), arguments.examples)]
    frame = pd.DataFrame(rows)
    for (condition, share), part in frame.groupby(["condition", "checkpoint"], sort=False):
        gap = part["type"] - part["other"]
        print(
            f"{condition} at {100 * float(share):g} %: type minus other words {interval(gap)}; AUC {interval(part['auc'])}; real AdamW step: "
            f"raw {interval(part['step_raw'])}, preconditioned {interval(part['step_adam'])}; {len(part)} replicates x "
            f"{int(part['examples'].iloc[0])} examples in {int(part['clusters'].iloc[0])} clusters",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
