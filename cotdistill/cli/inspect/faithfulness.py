"""faithfulness and stability: what the rankings of attribution methods are worth."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from cotdistill.cli.command import Command, Result, whole_number
from cotdistill.cli.inspect.attribute import attribution_tables
from cotdistill.cli.inspect.shared import (
    add_settings,
    add_where,
    asked_about,
    run_analysis,
    runs_of,
    settings_of,
    write_table,
)
from cotdistill.cli.output import printable, table
from cotdistill.config import plain
from cotdistill.errors import UsageError
from cotdistill.rationales.conditions import parse
from cotdistill.saliency.aggregates import scores_by_example
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.settings import SHARES, checked_shares
from cotdistill.saliency.stability import Agreement, every_pair
from cotdistill.saliency.targets import parse_target
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.studies.analyses.faithfulness import FaithfulnessConfig
from cotdistill.studies.inspection_jobs import (
    checked_checkpoint,
    checkpoints,
    ids_of,
    pick_examples,
    source_of,
    task_of,
    trained,
)
from cotdistill.text import plural


def faithfulness(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job = trained(store, arguments.run)
    checkpoint, examples = asked_about(store, job, arguments)
    results, frames = [], []
    for name in _names(arguments.methods):
        config = FaithfulnessConfig(
            job.identity, arguments.split, ids_of(examples), checkpoint, arguments.source,
            settings_of(arguments, method=name), arguments.random, arguments.shares,
        )  # fmt: skip
        result = run_analysis(store, job, config, as_job=arguments.job)
        results.append({"id": name, "job": result.number, **result.summary})
        frames.append(result.tables["curves"].assign(method=name))
    document = {
        "run": job.id,
        "condition": job.config["condition"],
        "checkpoint": checkpoint,
        "split": arguments.split,
        "target": arguments.target,
        "random": arguments.random,
        "out": write_table(arguments.out, pd.concat(frames, ignore_index=True)),
        "methods": results,
    }
    return Result(document, _text(document, job))


def _names(text: str) -> list[str]:
    names = METHODS.names() if text == "all" else [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UsageError("No method is named.", f"Known: {', '.join(METHODS.names())}, or all.")
    return [METHODS.get(name).name for name in names]


def _text(document: dict[str, Any], job: Job) -> str:
    first = document["methods"][0]
    rows = []
    for one in document["methods"]:
        rows.append(
            [
                one["id"].replace("_", " "),
                _share(one["comprehensiveness"]),
                _share(one["comprehensiveness_over_random"]),
                _share(one["sufficiency"]),
                _share(one["sufficiency_over_random"]),
                _share(one["leave_one_out"]),
                _share(one["leave_one_out_size"]),
            ]
        )
    head = ["method", "comprehensiveness", "minus random", "sufficiency", "minus random", "leave-one-out", "by size"]
    lines = [
        f"faithfulness of attributions, run {job.id} ({printable(job.label)}); target {document['target']}",
        (
            f"{plural(first['examples'], 'example')} of {document['split']} in {plural(first['clusters'], 'cluster')}; "
            f"random: {plural(document['random'], 'order')} an example"
        ),
        *(
            [f"left out, with fewer than two tokens to rank: {plural(first['left_out'], 'example')}"]
            if first["left_out"]
            else []
        ),
        *([f"the rationale is not ranked: {first['not_readable']}"] if first["not_readable"] else []),
        "",
        table(head, rows),
        "",
        (
            "Comprehensiveness: mean loss of probability when the highest tokens go (high is good). Sufficiency: when"
            " only they stay (low is good)."
        ),
        (
            "Leave-one-out: rank correlation with the loss when each token alone goes; by size: of the sizes of both,"
            " which is fair to methods without"
        ),
        "a sign. In brackets: 95 % intervals over clusters.",
    ]
    if document["out"]:
        lines += ["", f"Written to {document['out']}"]
    return "\n".join(lines)


def _share(value: dict[str, Any] | None) -> str:
    if value is None:
        return "does not vary"
    reach = "" if value["low"] is None else f" ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value['mean']:.3f}{reach}"


def stability(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    jobs = runs_of(store, arguments.run)
    if (
        parse_target(arguments.target).kind == "span"
        and len({parse(str(job.config["condition"])).spec.name for job in jobs}) > 1
    ):
        raise UsageError(
            "A span of columns is not the same tokens in students of several placements.",
            "Choose another target, or runs of one.",
        )
    methods = _names(arguments.methods)
    scored: dict[str, Any] = {}
    clusters: dict[str, str] = {}
    for job in jobs:
        shares = (
            checkpoints(job)
            if arguments.checkpoints == "all"
            else [checked_checkpoint(job, s) for s in arguments.checkpoints.split(",")]
        )
        examples = pick_examples(
            task_of(store, job), arguments.split, arguments.examples, source_of(job, arguments.source)
        )
        for share in shares:
            for name in methods:
                tokens, _, _, _ = attribution_tables(
                    store,
                    job,
                    share,
                    arguments.split,
                    examples,
                    arguments.source,
                    settings_of(arguments, method=name),
                    arguments.job,
                )
                key = f"run {job.id} · {name} · {100 * float(share):g} %"
                scored[key] = scores_by_example(tokens)
                clusters |= dict(zip(tokens["example"].astype(str), tokens["cluster"].astype(str), strict=True))
    if len(scored) < 2:
        raise UsageError(
            "There is one attribution only, and nothing to compare it with.",
            "Name several runs, methods or checkpoints.",
        )
    unsigned = [key for key in scored if not METHODS.get(key.split(" · ")[1]).signed]
    pairs = every_pair(scored, clusters, k=arguments.k, unsigned=unsigned, absolute=arguments.by == "size")
    document = {
        "runs": [
            {"id": job.id, "condition": job.config["condition"], "label": parse(str(job.config["condition"])).label}
            for job in jobs
        ],
        "split": arguments.split,
        "target": arguments.target,
        "by": arguments.by,
        "k": arguments.k,
        "pairs": [plain(pair) for pair in pairs],
    }
    return Result(document, _stability_text(document, pairs))


def _stability_text(document: dict[str, Any], pairs: list[Agreement]) -> str:
    def reach(low: float | None, high: float | None) -> str:
        return "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"

    rows = [
        [
            p.one,
            p.other,
            f"{p.rank:.2f}{reach(p.rank_low, p.rank_high)}",
            f"{p.overlap:.2f}{reach(p.overlap_low, p.overlap_high)}",
            f"{p.chance:.2f}",
        ]
        for p in pairs
    ]
    head = ["one", "other", "rank correlation", f"top {document['k']} shared", "by chance"]
    n = (
        f"{plural(pairs[0].examples, 'example')} of {document['split']} in {plural(pairs[0].clusters, 'cluster')}"
        if pairs
        else "no example in common"
    )
    lines = [f"agreement of attributions of {document['target']}; {n}", "", table(head, rows)]
    if any(p.absolute for p in pairs):
        lines += [
            "",
            "Sizes of the scores are compared"
            + ("." if all(p.absolute for p in pairs) else " where one of the two methods has no sign."),
        ]
    return "\n".join(lines)


def _shares(text: str) -> tuple[float, ...]:
    try:
        return checked_shares([float(part) for part in text.split(",")])
    except (ValueError, UsageError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} are no shares; expected numbers from 0 to 1, one at least between: 0,0.1,0.5,1"
        ) from error


def _faithfulness_arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, examples="50", split="dev", splits=("train", "dev", "test"))
    parser.add_argument(
        "--checkpoint",
        metavar="SHARE",
        default="1",
        help="share of the steps at which the weights were kept; default 1, the end",
    )
    parser.add_argument(
        "--methods", "--method", metavar="A,B|all", default="integrated_gradients", help="methods that are judged"
    )
    parser.add_argument(
        "--random", type=whole_number(1), metavar="N", default=10, help="random orders an example; default 10"
    )
    shares = ",".join(f"{share:g}" for share in SHARES)
    parser.add_argument(
        "--shares",
        type=_shares,
        metavar="Q,Q",
        default=SHARES,
        help=f"shares of the tokens that go or stay; default {shares}",
    )
    add_settings(parser, leave=("method",))
    parser.set_defaults(target="predicted")


def _stability_arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, examples="50", split="dev", splits=("train", "dev", "test"))
    parser.add_argument(
        "--methods", "--method", metavar="A,B|all", default="integrated_gradients", help="methods that are compared"
    )
    parser.add_argument(
        "--checkpoints", metavar="all|SHARE,SHARE", default="1", help="shares of the steps; default 1, the end"
    )
    parser.add_argument(
        "--by",
        choices=("value", "size"),
        default="value",
        help="rank tokens by their score or by its size; default value",
    )
    parser.add_argument(
        "-k",
        type=whole_number(1),
        metavar="K",
        default=5,
        help="how many of the highest tokens are compared; default 5",
    )
    add_settings(parser, leave=("method",))


_MEAN = {
    "mean": "mean over examples",
    "low": "lower end of the 95 % interval over clusters, or null",
    "high": "upper end, or null",
}


def _mean_keys(name: str, help: str) -> dict[str, str]:
    return {f"methods[].{name}": help, **{f"methods[].{name}.{key}": text for key, text in _MEAN.items()}}


COMMAND = Command(
    "inspect",
    "faithfulness",
    "whether the rankings of attribution methods say what a student uses, against random tokens",
    faithfulness,
    {
        "run": "number of the training run",
        "condition": "its condition",
        "checkpoint": "share of its steps",
        "split": "train, dev or test",
        "target": "what was attributed",
        "random": "random orders an example",
        "out": "file that was written, or null",
        "methods": "one entry a method",
        "methods[].id": "its name",
        "methods[].job": "number of the job; null if it was done at once",
        "methods[].examples": "how many",
        "methods[].clusters": "in how many clusters",
        "methods[].left_out": "examples with fewer than two tokens to rank",
        "methods[].not_readable": "why a part of the sequences is not ranked, or null",
        "methods[].shares": "shares of the tokens that are taken away or kept",
        **_mean_keys("comprehensiveness", "area of the loss of probability without the highest tokens (AOPC)"),
        **_mean_keys("random_comprehensiveness", "the same without random tokens"),
        **_mean_keys("comprehensiveness_over_random", "their difference"),
        **_mean_keys("sufficiency", "area of the loss with the highest tokens alone (AOPC)"),
        **_mean_keys("random_sufficiency", "the same with random tokens alone"),
        **_mean_keys("sufficiency_over_random", "their difference"),
        **_mean_keys(
            "leave_one_out",
            "rank correlation with the loss when each token alone goes; null where it does not vary",
        ),
        "methods[].leave_one_out.examples": "over how many examples; in the others it does not vary",
        **_mean_keys("leave_one_out_size", "the same of the sizes of both; null where it does not vary"),
        "methods[].leave_one_out_size.examples": "over how many examples",
        "methods[].curves": "without, alone, random_without, random_alone: for each share the mean with its interval",
    },
    _faithfulness_arguments,
)

STABILITY = Command(
    "inspect",
    "stability",
    "how far attributions agree between replicates, methods and checkpoints, beside what chance gives",
    stability,
    {
        "runs": "the training runs",
        "runs[].id": "number",
        "runs[].condition": "its condition",
        "runs[].label": "its name for people",
        "split": "train, dev or test",
        "target": "what is explained",
        "by": "value, or size: tokens are ranked by the size of their scores",
        "k": "how many of the highest tokens are compared",
        "pairs": "every two of them",
        "pairs[].one": "run, method and checkpoint",
        "pairs[].other": "run, method and checkpoint",
        "pairs[].examples": "how many",
        "pairs[].explanations": "several an example where each rationale token is explained",
        "pairs[].ranked": "how many of them have a rank correlation; scores that do not vary have none",
        "pairs[].clusters": "in how many clusters",
        "pairs[].absolute": "whether sizes were compared: asked for, or one of the two has no sign",
        "pairs[].rank": "mean rank correlation",
        "pairs[].rank_low": "lower end of the 95 % interval over clusters, or null",
        "pairs[].rank_high": "upper end, or null",
        "pairs[].k": "as above",
        "pairs[].overlap": "mean share of the k highest that both name",
        "pairs[].overlap_low": "lower end, or null",
        "pairs[].overlap_high": "upper end, or null",
        "pairs[].chance": "what a random choice of k would share",
    },
    _stability_arguments,
    notes="RUN may be a list: 4,15,26.",
)
