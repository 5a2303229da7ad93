"""From the arguments of `study plan` and `study run` to a study: a named one, a file or a new one, with overrides."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any

from cotdistill.cli.command import whole_number
from cotdistill.cli.output import note
from cotdistill.config import LARGEST_THAT_FITS, StudentConfig, TrainingConfig
from cotdistill.errors import GrammarError, UnknownName, UsageError
from cotdistill.rationales.conditions import crossed, parse_list, read_fraction
from cotdistill.store.store import Store
from cotdistill.studies.spec import BUDGETS, MISSING, STUDIES, StudySpec, spec_from_mapping, study_spec
from cotdistill.tasks.catalog import open_task

# Option -> the setting it sets.
OPTIONS = {
    "task": "task",
    "source": "source",
    "tokenizer": "tokenizer",
    "student": "student.name",
    "conditions": "conditions",
    "seeds": "replicates",
    "steps": "training.steps",
    "micro_batch": "training.micro_batch",
    "budget": "budget",
    "baseline": "baseline",
    "also_test": "also_test",
    "missing_rationale": "missing_rationale",
    "test_rows": "test_rows",
    "name": "name",
}
# Settings that hold names of their own: dials of a generated task, seeds.
OPEN = ("task_settings", "fixed_seeds")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """The options that describe a study."""
    parser.add_argument(
        "study",
        nargs="?",
        metavar="NAME|FILE.yaml",
        help="a named study or a file; may be left out when --task is given",
    )
    parser.add_argument("--task", metavar="T", help="a task of `tasks list`")
    parser.add_argument("--student", metavar="S", help="a student of `students list`, a folder or a hub id")
    parser.add_argument(
        "--conditions", metavar="A,B", help="comma list, for example label_only,pre_cot,'post_cot/shuffle(unit=token)'"
    )
    parser.add_argument(
        "--fractions",
        type=_fractions,
        metavar="F,F",
        help="train every condition on these shares of the training rows, for example 0.1,0.25,0.5,1",
    )
    parser.add_argument(
        "--sources",
        metavar="A,B",
        help="train every condition that reads rationales with each of these teachers' rationales",
    )
    parser.add_argument("--seeds", type=whole_number(1), metavar="N", help="number of replicates")
    parser.add_argument("--steps", type=whole_number(0), metavar="N", help="optimiser steps of each run")
    parser.add_argument(
        "--micro-batch",
        type=_micro_batch,
        metavar="N|auto",
        help="sequences in one forward pass; auto: the largest that fits into memory",
    )
    parser.add_argument(
        "--budget", choices=BUDGETS, help="equal steps, or equal training tokens (those of the longest condition)"
    )
    parser.add_argument("--source", metavar="S", help="whose rationales; default: the task's")
    parser.add_argument("--tokenizer", choices=("auto", "word", "bpe"), help="built-in students: which tokenizer")
    parser.add_argument("--baseline", metavar="CONDITION", help="reference condition for differences")
    parser.add_argument(
        "--also-test",
        metavar="TASK",
        help="score the same students on a second task, too: another one of `tasks list`, or a generated one with "
        "other dials, for example 'field_guide(choices=6)'; exploratory, never judged",
    )
    parser.add_argument("--missing-rationale", choices=MISSING, help="training rows without a rationale")
    parser.add_argument(
        "--test-rows", type=whole_number(0), metavar="N", help="score a fixed sub-sample of the test questions; 0: all"
    )
    parser.add_argument("--name", metavar="N", help="the name the study gets")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="any setting, for example training.lr=0.001 (repeatable)",
    )


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(read_fraction(part.strip()) for part in text.split(",") if part.strip())
    except GrammarError as error:
        raise argparse.ArgumentTypeError(f"{error.message} Expected shares such as 0.1,0.25,0.5,1") from None


def _micro_batch(text: str) -> int:
    return LARGEST_THAT_FITS if text == "auto" else whole_number(0)(text)


def spec_of(store: Store, arguments: argparse.Namespace) -> StudySpec:
    """The study that the arguments describe; UnknownName, UsageError or ConfigError for wrong ones."""
    spec = _described(store, arguments)
    if not arguments.fractions and not arguments.sources:
        return spec
    sources = [name.strip() for name in (arguments.sources or "").split(",") if name.strip()]
    default = spec.source
    if sources and not default:
        default = open_task(store.tasks_root, spec.task, settings=spec.task_settings or None).default_source
    fractions = arguments.fractions or ()
    conditions = [str(c) for c in crossed(spec.parsed(), sources=sources, fractions=fractions, default_source=default)]
    return spec_from_mapping(
        {"conditions": conditions, "baseline": spec.baseline if spec.baseline in conditions else ""}, spec
    )


def _described(store: Store, arguments: argparse.Namespace) -> StudySpec:
    values: dict[str, Any] = {}
    for option, setting in OPTIONS.items():
        if (value := getattr(arguments, option)) is not None:
            values[setting] = value
    for text in arguments.settings:
        key, value = setting_of(text)
        values[key] = value
    name: str | None = arguments.study
    if name is None:
        if "task" not in values:
            raise UsageError(
                "Which study? Neither a name nor --task was given.",
                f"Built in: {', '.join(STUDIES.names())}. Or start from --task.",
            )
        return study_spec(None, values)
    if name in STUDIES or name.endswith((".yaml", ".yml")) or Path(name).is_file():
        return study_spec(name, _with_baseline(values, study_spec(name, {})))
    stored = {study.name: study for study in reversed(store.queue.studies())}
    if name in stored:
        base = spec_from_mapping(stored[name].spec)
        return spec_from_mapping(_with_baseline(values, base), base)
    raise UnknownName("study", name, [*STUDIES.names(), *stored])


def _with_baseline(values: dict[str, Any], base: StudySpec) -> dict[str, Any]:
    """`values` with a baseline where its conditions leave out that of `base`: label only, else the first condition."""
    if "conditions" not in values or "baseline" in values or not base.baseline:
        return values
    conditions = [str(condition) for condition in parse_list(values["conditions"])]
    if not conditions or base.baseline in conditions:
        return values
    baseline = "label_only" if "label_only" in conditions else conditions[0]
    note(
        f"{base.baseline}, the baseline of {base.name}, is not among these conditions: "
        f"differences are taken to {baseline}. To choose another: --baseline CONDITION"
    )
    return {**values, "baseline": baseline}


def setting_of(text: str) -> tuple[str, Any]:
    """`training.lr=0.001` as key and value, the value of the setting's own type; UnknownName with near matches."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise UsageError(f"--set {text!r} is not KEY=VALUE.", "For example --set training.lr=0.001")
    defaults = _defaults()
    outer, _, inner = key.partition(".")
    if key in defaults:
        default = defaults[key]
    elif outer in OPEN and inner:
        default = None
    else:
        # `lr` is near training.lr, though the two texts are not.
        by_tail = {name.rpartition(".")[2]: name for name in defaults}
        near = difflib.get_close_matches(key.rpartition(".")[2], by_tail, n=3, cutoff=0.6)
        error = UnknownName("setting", key, defaults)
        if near:
            error.hint = f"Did you mean {' or '.join(by_tail[name] for name in near)}?"
        raise error
    if isinstance(default, str) or key == "conditions" or (key == "left_out" and not value.startswith("[")):
        return key, value
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _defaults() -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for prefix, config in (("", StudySpec()), ("training.", TrainingConfig()), ("student.", StudentConfig())):
        for field in dataclasses.fields(config):
            if prefix or field.name not in ("student", "training"):
                defaults[prefix + field.name] = getattr(config, field.name)
    return defaults
