"""What is known of teachers in words, for tables: the figures of a source, what an elicitation would take. No
Streamlit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cotdistill.planning.elicitation import Estimate
from cotdistill.report.commands import command
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.quality import THIRDS
from cotdistill.teachers.sources import NOT_PICKED
from cotdistill.text import about, count, duration, percent, plural


def figures(quality: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what it is, its value) of what `teachers.quality.quality` gives; only the number of rationales for a source that
    has none.
    """
    if not quality.get("answers"):
        return [("answers", "0")]
    q, words, style = quality, quality["words"], quality["style"]
    return [
        ("answers", f"{q['answers']:,}"),
        ("rationales", f"{q['rationales']:,} ({percent(q['rationales'] / q['answers'])})"),
        ("the others", ", ".join(f"{why} {number:,}" for why, number in q["left_out"].items()) or "–"),
        ("rows covered", percent(q["covered"])),
        ("label noted", percent(q["noted"])),
        ("noted labels that are gold", percent(q["noted_right"])),
        ("label noted or stated", percent(q["known"])),
        ("noted or stated labels that are gold", percent(q["agrees"])),
        ("words, mean", f"{words['mean']:.2f}"),
        ("words, nine in ten", f"{words['p5']:g} to {words['p95']:g}"),
        ("holds the gold choice's text", percent(q["leak_text"])),
        ("names a choice's letter", percent(q["leak_letter"])),
        ("content words that are the question's", percent(q["overlap"])),
        ("question's content words taken up", percent(q["recall"])),
        ("longest run of the question's words", "–" if q["run"] is None else f"{q['run']:.1f}"),
        ("opens by speaking of the question", percent(q["about_question"])),
        ("different words", f"{q['vocabulary']:,}"),
        ("different words in a thousand", "–" if q["variety"] is None else f"{q['variety']:.0f}"),
        ("near-duplicates", percent(q["near_duplicates"])),
        ("cut off by the limit of tokens", percent(q["cut_off"])),
        ("contradicts itself", percent(q["contradicts"])),
        ("a label without a reason", percent(q["label_alone"])),
        *(
            (f"answer first named in the {third}" if third != "never" else "answer never named", percent(style[third]))
            for third in THIRDS
        ),
        *_suited(q.get("student")),
    ]


def _suited(student: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Rows about the student that read the rationales; none where no student did."""
    if student is None:
        return []
    names = {
        "surprisal": "surprisal for the student, nats a token",
        "rank_surprisal": "rank-surprisal ratio",
        "naturalness": "local naturalness, nats a token",
    }
    return [
        ("read by the student", f"{student['read']:,}"),
        ("too long for the student", f"{student['too_long']:,}"),
        *((label, "–" if student[key] is None else f"{student[key]:.3f}") for key, label in names.items()),
        ("words that are the gold answer's", percent(student["answer_overlap"])),
    ]


# Fewer answers than this share give a rationale: told before anybody trains on them.
FEW = 0.5


def outcome(result: Mapping[str, Any], config: Mapping[str, Any], job: int) -> list[str]:
    """What came of an elicitation that has finished, line by line, for page and terminal. config, job: the config and
    the number of its job.
    """
    lines = [
        f"{result['answered']:,} of {result['requests']:,} answered, {result['cached']:,} of them before this job; "
        f"{result['tokens_in']:,} tokens read and {result['tokens_out']:,} written"
        + (f", cost {result['cost']:.4f}." if result["cost"] else ".")
    ]
    gold = f"; {percent(result['agrees'])} of these are gold" if result["stated"] else ""
    lines.append(f"{result['stated']:,} state an answer{gold}.")
    return [
        *lines,
        *_kept(result),
        *_cut_off(result, config, job),
        *_not_as_asked(result, str(config["teacher"]["model"])),
    ]


def _kept(result: Mapping[str, Any]) -> list[str]:
    if "left_out" not in result:  # a job of an earlier version
        return []
    kept, left_out = int(result["rationales"]), dict(result["left_out"])
    total = int(result["texts"])
    others = ", ".join(f"{why} {number:,}" for why, number in left_out.items())
    lines = [
        f"{plural(kept, 'rationale')} of {plural(total, 'answer')} ({percent(kept / total)}) for training"
        + (f"; the others: {others}." if others else ".")
    ]
    if kept < FEW * (total - left_out.get(NOT_PICKED, 0)):
        lines.append(
            "Most answers give no rationale, so a student would learn from few. Look at them before you train: raise"
            " the limit of tokens, ask for a reason in the template, or take another teacher."
        )
    return lines


def _cut_off(result: Mapping[str, Any], config: Mapping[str, Any], job: int) -> list[str]:
    if not result["cut_off"] or "left_out" not in result:
        return []
    limit = config["sampling"]["max_tokens"]
    keep = command("teacher", "filter", "--job", str(job), "--name", f"{config['name']}_all", "--part", config["part"])
    return [
        f"{result['cut_off']:,} of {result['texts']:,} answers ({percent(result['cut_off'] / result['texts'])}) were"
        f" cut off at {limit:,} tokens and are left out of the source. Ask again with a larger --max-tokens, or keep"
        f" them as they are: {keep}"
    ]


def _not_as_asked(result: Mapping[str, Any], model: str) -> list[str]:
    lines = []
    if result.get("other_model"):
        names = ", ".join(f"{name} {number:,}" for name, number in result["served"].items())
        lines.append(f"Asked for {model}; by the server's own words these answered: {names}.")
    if len(result.get("fingerprints") or ()) > 1:
        lines.append(f"The server changed while it answered: {len(result['fingerprints'])} system fingerprints.")
    return lines + [
        f"Not as asked, {plural(number, 'answer')}: {remark}."
        for remark, number in (result.get("remarks") or {}).items()
    ]


def spending(progress: Mapping[str, Any], tokens_in: int, tokens_out: int) -> list[str]:
    """Tokens spent and to come, cost and time left of a job, as one line; none before there is anything to say."""
    parts = [f"{count(tokens_in)} tokens read and {count(tokens_out)} written"] if tokens_in or tokens_out else []
    parts += [f"about {count(progress['tokens_left'])} to come"] if progress.get("tokens_left") else []
    parts += [f"cost {progress['cost']:.4f}"] if progress.get("cost") else []
    parts += [f"about {progress['cost_left']:.4f} to come"] if progress.get("cost_left") else []
    parts += [f"{duration(progress['seconds_left'])} left"] if progress.get("seconds_left") else []
    parts += [f"the server asks to wait {duration(progress['wait'])}"] if progress.get("wait") else []
    return ["; ".join(parts)] if parts else []


def estimated(estimate: Estimate, pace: Pace) -> list[tuple[str, str]]:
    """An estimate as (what, how much)."""
    time = about(*estimate.seconds) if estimate.seconds else "not known before this model's first answers"
    money = (
        f"{estimate.cost[0]:.2f} to {estimate.cost[1]:.2f}" if pace.price_in or pace.price_out else "no price is set"
    )
    return [
        ("requests", f"{estimate.requests:,}, {estimate.cached:,} of them answered already"),
        ("tokens read", f"{count(estimate.tokens_in[0])} to {count(estimate.tokens_in[1])}"),
        ("tokens written", f"{count(estimate.tokens_out[0])} to {count(estimate.tokens_out[1])}"),
        ("cost", money),
        ("time", time),
        ("reckoned with", estimate.basis),
    ]
