"""scorers: how the students of a study would answer if their choices were scored another way."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Result, whole_number
from cotdistill.cli.inspect.shared import write_table
from cotdistill.cli.output import note, table
from cotdistill.cli.waiting import wait_for
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.rationales.conditions import parse_list
from cotdistill.report.commands import command
from cotdistill.report.modes import DIAGNOSTIC
from cotdistill.report.scorers import HEAD, MARGINAL_HEAD, NAMES, marginal_rows, rows, title
from cotdistill.results import scorers
from cotdistill.results.scorers import MarginalCell, ScorerCell
from cotdistill.store.store import Store
from cotdistill.students.scoring.scorers import SCORERS
from cotdistill.studies.modes import state_counts
from cotdistill.text import about, between, percent, plural

_ENDS = ("accuracy", "over_label", "agreement")


def ask(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    study = store.queue.study(arguments.study)
    conditions = list(dict.fromkeys(str(c) for text in arguments.condition for c in parse_list(text)))
    drawn = (
        (arguments.samples, arguments.seed) if arguments.samples is not None else scorers.drawn_before(store, study.id)
    )
    requests = scorers.asked(store, study.id, arguments.examples, conditions, *drawn)
    missing = [one.spec for one in requests if one.missing and one.spec is not None]
    if missing and not arguments.show:
        seconds = sum(spec.seconds for spec in missing) / max(1, store.queue.workers())
        note(f"{plural(len(missing), 'student')} to score anew, {about(seconds / 2, seconds * 2)} of computing.")
        store.queue.submit(missing)
        ensure_supervisor(store)
    if arguments.wait and not arguments.show:
        identities = {one.spec.identity for one in requests if one.spec is not None}
        wait_for(
            store,
            lambda: [job for job in store.queue.jobs(kind="scorers") if job.identity in identities],
            command("scorers", study.name, "--show"),
        )
    requests = scorers.asked(store, study.id, arguments.examples, conditions, *drawn)
    states = state_counts(requests)
    cells, marginals = scorers.table(store, requests), scorers.marginals(store, requests)
    document: dict[str, Any] = {
        "id": study.id,
        "name": study.name,
        "diagnostic": DIAGNOSTIC,
        "jobs": states,
        "out": write_table(arguments.out, scorers.items(store, requests)),
        "conditions": [_cell(cell) for cell in cells],
        "marginal": [_marginal(one) for one in marginals],
        "scorers": [dataclasses.asdict(row) for row in scorers.by_scorer(cells)],
    }
    return Result(document, _text(document, cells, marginals), 1 if arguments.wait and states["failed"] else 0)


def _cell(cell: ScorerCell) -> dict[str, Any]:
    plain = {name: getattr(cell, name) for name in ("condition", "label", "scorer", "mode")}
    for name in _ENDS:
        interval = getattr(cell, name)
        plain |= {
            f"{name}{end}": None if interval is None else getattr(interval, part)
            for end, part in (("", "mean"), ("_low", "low"), ("_high", "high"))
        }
    plain |= {
        "replicates": list(cell.points),
        "spread": cell.spread,
        "items": cell.items,
        "clusters": cell.clusters,
        "planned": cell.planned,
    }
    return {**plain, "speaks_of": cell.accuracy.speaks_of}


def _marginal(cell: MarginalCell) -> dict[str, Any]:
    interval = cell.log_likelihood
    return {
        "condition": cell.condition,
        "label": cell.label,
        "samples": cell.samples,
        "seed": cell.seed,
        "log_likelihood": interval.mean,
        "log_likelihood_low": interval.low,
        "log_likelihood_high": interval.high,
        "standard_error": cell.standard_error,
        "replicates": cell.replicates,
    }


def _text(document: dict[str, Any], cells: list[ScorerCell], marginals: list[MarginalCell]) -> str:
    jobs = Counter(document["jobs"])
    lines = [f"scorers of study {document['name']}: {title(cells)}"]
    lines.append(f"students scored anew: {', '.join(f'{number} {name}' for name, number in jobs.items() if number)}")
    if jobs["running"] + jobs["queued"] + jobs["missing"]:
        lines.append(f"what is missing: {command('scorers', str(document['name']), '--wait')}")
    if cells:
        shown = [name for name in NAMES if any(cell.scorer == name for cell in cells)]
        at = {
            (c.condition, c.scorer): f"{percent(c.accuracy.mean)} ({between(c.accuracy.low, c.accuracy.high)})"
            for c in cells
        }
        labels = {cell.condition: cell.label for cell in cells}
        lines += [
            "",
            table(
                ["condition", *(NAMES[name] for name in shown)],
                [[label, *(at.get((c, name)) for name in shown)] for c, label in labels.items()],
            ),
            "",
        ]
        if marginals:
            lines += [
                table(list(MARGINAL_HEAD), [list(row) for row in marginal_rows(marginals)], right=MARGINAL_HEAD[1:]),
                "",
            ]
        lines += [table(list(HEAD), [list(row) for row in rows(scorers.by_scorer(cells))], right=HEAD[1:]), ""]
        lines.append(
            f"{cells[0].items:,} test questions in {plural(cells[0].clusters, 'cluster')}, each student in the mode"
            f" that it is judged in; {cells[0].accuracy.speaks_of}. {DIAGNOSTIC}"
        )
    if document["out"]:
        lines += ["", f"Written to {document['out']}"]
    return "\n".join(lines)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="its name (the latest of that name) or number")
    parser.add_argument(
        "--condition", metavar="C,C", action="append", default=[], help="only these conditions; may be repeated"
    )
    parser.add_argument(
        "--examples",
        type=whole_number(0),
        metavar="N",
        default=0,
        help="the first N test questions by id; default 0, all of them",
    )
    parser.add_argument(
        "--samples",
        type=whole_number(0),
        metavar="K",
        default=None,
        help=(
            "scorer marginal: rationales that a student draws for each question, where it was trained to write one"
            " first; default: as before"
        ),
    )
    parser.add_argument("--seed", type=whole_number(0), metavar="N", default=0, help="of those draws (default 0)")
    parser.add_argument("--wait", action="store_true", help="until every student has been scored anew")
    parser.add_argument("--show", action="store_true", help="what there is; nothing is queued")
    parser.add_argument(
        "--out",
        metavar="FILE.parquet",
        type=Path,
        help="write every answer there: a row a question, scorer and student",
    )


_HELP = {
    "accuracy": "mean over replicates",
    "over_label": "paired difference to the scorer label, a share, or null for label itself",
    "agreement": "share of the questions answered as under the scorer label",
}

COMMAND = Command(
    "inspect",
    "scorers",
    "how students of a study would answer if their choices were scored by full text, by length, by PMI or backwards"
    " (arXiv 2004.14074)",
    ask,
    {
        "id": "number of the study",
        "name": "its name",
        "diagnostic": "what these numbers may not be used for",
        "jobs": "students by state of the job that scores them; untrained: not trained yet",
        **{
            f"jobs.{name}": "how many"
            for name in ("finished", "running", "queued", "failed", "stopped", "missing", "untrained")
        },
        "out": "file that was written, or null",
        "conditions": "one entry a condition that was asked, and scorer",
        "conditions[].condition": "canonical form",
        "conditions[].label": "its name for people",
        "conditions[].scorer": "; ".join(f"{scorer.name}: {scorer.help}" for scorer in SCORERS),
        "conditions[].mode": "what stood before the answer: direct (no rationale) or own",
        **{f"conditions[].{name}": text for name, text in _HELP.items()},
        **{f"conditions[].{name}_low": "lower end of its 95 % interval, or null" for name in _ENDS},
        **{f"conditions[].{name}_high": "upper end, or null" for name in _ENDS},
        "conditions[].replicates": "accuracy of each replicate",
        "conditions[].spread": "standard deviation of them, a share, or null below two",
        "conditions[].items": "test questions",
        "conditions[].clusters": "independent groups of them",
        "conditions[].planned": "replicates planned",
        "conditions[].speaks_of": "what the intervals generalise to",
        "marginal": "one entry a condition whose students drew rationales: the likelihood of the right label over them",
        "marginal[].condition": "canonical form",
        "marginal[].label": "its name for people",
        "marginal[].samples": "rationales a question",
        "marginal[].seed": "of the draws",
        "marginal[].log_likelihood": (
            "log mean over draws of p(right label | question, rationale), nats: mean over questions and replicates"
        ),
        "marginal[].log_likelihood_low": "lower end of its 95 % interval, or null",
        "marginal[].log_likelihood_high": "upper end, or null",
        "marginal[].standard_error": "of that mean, from the draws alone, or null",
        "marginal[].replicates": "replicates scored",
        "scorers": "one entry a scorer, over the conditions asked",
        "scorers[].scorer": "its name",
        "scorers[].conditions": "how many were asked",
        "scorers[].accuracy": "mean over them",
        "scorers[].agreement": "mean share of the questions answered as under label",
        "scorers[].spread": "standard deviation over restarts, pooled over conditions, a share, or null",
        "scorers[].spread_low": "lower end of its 95 % interval (chi-squared), or null",
        "scorers[].spread_high": "upper end, or null",
        "scorers[].freedom": "degrees of freedom of the spread",
    },
    _arguments,
    notes="Scorers:\n" + "\n".join(f"  {scorer.name.ljust(11)}{scorer.help}" for scorer in SCORERS),
)
