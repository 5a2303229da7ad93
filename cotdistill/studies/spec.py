"""What a study is: a task, a student, conditions and replicates; and the built-in studies. Plain data, no torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from cotdistill.config import Seeds, StudentConfig, TrainingConfig, check, digest, from_mapping, hashed, param, plain
from cotdistill.errors import ConfigError, UnknownName, UsageError
from cotdistill.rationales.conditions import Condition, parse, parse_list
from cotdistill.registry import Registry
from cotdistill.students.models import entry_of
from cotdistill.students.suited import suited
from cotdistill.tasks.catalog import TASKS, parse_reference

MISSING = ("exclude", "label_only", "fail")
BUDGETS = ("steps", "tokens")


@dataclass(frozen=True)
class StudySpec:
    """Everything a person chooses. `conditions` are canonical; `fixed_seeds` are those that the replicate index does
    not set.
    """

    name: str = param("study", "the name it is found under; a name means its latest study")
    title: str = param("", "one line for people")
    task: str = param("field_guide", "a task of `tasks list`")
    task_settings: Mapping[str, Any] = field(default_factory=dict, metadata={"help": "dials of a generated task"})
    source: str = param("", "whose rationales; empty means the task's default")
    tokenizer: str = param(
        "auto", "built-in students: word or bpe; auto takes the task's default", choices=("auto", "word", "bpe")
    )
    student: StudentConfig = field(default_factory=StudentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    base_steps: int = param(
        0,
        "generated tasks: steps of the shared base that plays the pretrained model; 0 means no base",
        low=0,
        high=1_000_000,
    )
    conditions: tuple[str, ...] = field(default=(), metadata={"help": "what is compared"})
    replicates: int = param(3, "how often each condition is trained, with other seeds", low=1, high=1000)
    fixed_seeds: Mapping[str, int] = field(
        default_factory=dict, metadata={"help": "seeds that are the same in every replicate"}
    )
    baseline: str = param("", "the condition that differences are taken to; empty: label_only, or the first")
    primary: str = param("", "of several key-token conditions, the one that claim 3 is judged by; named before launch")
    first_replicate: int = param(0, "index of the first replicate; pilots begin far away", low=0, high=1_000_000)
    tuned: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict, metadata={"help": "training settings of single conditions, chosen on dev (--tune)"}
    )
    also_test: str = param(
        "", "a second task that the same students are scored on, beside and never judged; 'field_guide(choices=6)'"
    )
    missing_rationale: str = param("exclude", "training rows without a rationale", choices=MISSING)
    budget: str = param(
        "steps", "steps: the same in every condition; tokens: each sees as many tokens as the longest", choices=BUDGETS
    )
    left_out: tuple[str, ...] = field(
        default=(),
        metadata={"help": "ids of training rows that no condition trains on, such as those that are too long"},
    )
    terminator: str = param(
        "auto",
        "answers end in the end token, trained and scored with them; auto: where one choice begins another",
        choices=("auto", "on", "off"),
    )
    test_rows: int = param(
        0, "test questions that are scored: a fixed sub-sample by hashed id; 0 means all", low=0, high=10_000_000
    )
    answers: str = param(
        "",
        "the file that the answers of a study come from which was run elsewhere (`runs import`); such a study is never"
        " trained",
    )

    @property
    def plan_hash(self) -> str:
        """What is frozen at launch; see `plan_hash_of`."""
        return plan_hash_of(plain(self))

    def parsed(self) -> list[Condition]:
        return [parse(text) for text in self.conditions]

    @property
    def pinned(self) -> str:
        """The baseline that is used: the chosen one, else label_only, else the first condition."""
        if self.baseline:
            return str(parse(self.baseline))
        return "label_only" if "label_only" in self.conditions else self.conditions[0]

    @property
    def worlds(self) -> int | None:
        """In how many generated worlds the replicates stand; None on real text."""
        if self.task not in TASKS:
            return None
        return 1 if "world" in self.fixed_seeds else self.replicates

    def seeds(self, replicate: int) -> Seeds:
        return Seeds.of_replicate(self.first_replicate + replicate, self.fixed_seeds)


UNHASHED = ("name", "title", "also_test")
# Settings that were added later: a plan that leaves them alone keeps its hash.
UNHASHED_IF_UNUSED = ("answers", "test_rows", "primary", "first_replicate", "tuned", "left_out")


def plan_hash_of(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a spec's plain form without name, title and second test: these change no run and no verdict.
    What was added later and is not used is left out: old plans keep their hash.
    """
    nested: dict[str, type] = {"student": StudentConfig, "training": TrainingConfig}
    document = {
        key: hashed(nested[key], value) if key in nested and isinstance(value, Mapping) else value
        for key, value in values.items()
    }
    return digest(
        {
            key: value
            for key, value in document.items()
            if key not in UNHASHED
            and (key not in UNHASHED_IF_UNUSED or value)
            and (key != "terminator" or value == "on")
        }
    )


def checked(spec: StudySpec) -> StudySpec:
    """The spec with its conditions in canonical form, once each; ConfigError with everything that is wrong at once."""
    problems: list[str] = []
    for part in (spec, spec.student, spec.training):
        try:
            check(part)
        except ConfigError as error:
            problems += [p for p in error.problems if not p.startswith(("student.", "training."))]
    if not all(isinstance(text, str) for text in (spec.name, spec.baseline, spec.primary, spec.also_test)):
        # What follows reads them as text.
        raise ConfigError(problems)
    conditions: list[str] = []
    for text in spec.conditions:
        try:
            if (canonical := str(parse(text))) not in conditions:
                conditions.append(canonical)
        except UsageError as error:
            problems.append(f"{error.message} {error.hint}".strip())
    if not spec.conditions:
        problems.append("conditions is empty; expected at least one, for example label_only,post_cot")
    if spec.baseline and not problems:
        try:
            if str(parse(spec.baseline)) not in conditions:
                problems.append(f"baseline {spec.baseline!r} is none of the conditions")
        except UsageError as error:
            problems.append(error.message)
    for condition, settings in spec.tuned.items():
        if condition not in conditions or not isinstance(settings, Mapping):
            problems.append(f"tuned has {condition!r}: {settings!r}; expected settings of one of the conditions")
            continue
        try:
            check(from_mapping(TrainingConfig, {**plain(spec.training), **settings}))
        except (ConfigError, UnknownName) as error:
            problems.append(f"tuned, {condition}: {error.message}")
    if spec.primary and not problems:
        try:
            if str(parse(spec.primary)) not in conditions:
                problems.append(f"primary {spec.primary!r} is none of the conditions")
        except UsageError as error:
            problems.append(error.message)
    if spec.also_test:
        try:
            parse_reference(spec.also_test)
        except UsageError as error:
            problems.append(f"also_test: {error.message} {error.hint}")
    try:
        # Only the names are checked: a first replicate that is no number is among the problems already.
        Seeds.of_replicate(0, spec.fixed_seeds)
    except UnknownName as error:
        problems.append(error.message)
    if not spec.name.strip() or "/" in spec.name or len(spec.name) > 80:
        problems.append(f"name is {spec.name!r}; expected 1 to 80 characters without /")
    if problems:
        raise ConfigError(problems)
    baseline, primary = (str(parse(text)) if text else "" for text in (spec.baseline, spec.primary))
    return dataclasses.replace(spec, conditions=tuple(conditions), baseline=baseline, primary=primary)


def spec_from_mapping(values: Mapping[str, Any], base: StudySpec | None = None) -> StudySpec:
    """A spec from plain values (a YAML file, a form, a stored study) laid over `base`. Nested keys may be written
    student.name or nested.
    """
    current = plain(base or StudySpec())
    for key, value in values.items():
        outer, _, inner = str(key).partition(".")
        if outer not in current:
            raise UnknownName("study setting", str(key), current)
        if inner:
            if not isinstance(current[outer], dict):
                raise UnknownName("study setting", str(key), current)
            current[outer] = {**current[outer], inner: value}
        elif outer in ("student", "training") and isinstance(value, Mapping):
            current[outer] = {**current[outer], **value}
        elif outer == "student" and isinstance(value, str):
            current[outer] = {**current[outer], "name": value}
        elif outer == "conditions":
            current[outer] = [str(c) for c in parse_list(value)] if isinstance(value, str) else _texts(outer, value)
        elif outer == "left_out":
            current[outer] = [id.strip() for id in value.split(",")] if isinstance(value, str) else _texts(outer, value)
        else:
            current[outer] = value
    for key in ("task_settings", "fixed_seeds", "student", "training", "tuned"):
        if not isinstance(current[key], Mapping):
            raise ConfigError([f"{key} is {current[key]!r}; expected a mapping"])
    if base is None and _is_whole(values) and "terminator" not in values:
        # A stored study from before there were terminators had none.
        current["terminator"] = "off"
    _suit(current, values, base)
    current["student"] = from_mapping(StudentConfig, current["student"])
    current["training"] = from_mapping(TrainingConfig, current["training"])
    current["conditions"] = tuple(current["conditions"])
    current["left_out"] = tuple(sorted({id for id in current["left_out"] if id}))
    return checked(StudySpec(**current))


def _is_whole(values: Mapping[str, Any]) -> bool:
    """Whether the values are those of a whole study, as the store and archives hold it, not what a person changes."""
    whole = values.get("training")
    return isinstance(whole, Mapping) and {
        f.name for f in fields(TrainingConfig) if not f.metadata.get("later")
    } <= set(whole)


def _suit(current: dict[str, Any], values: Mapping[str, Any], base: StudySpec | None) -> None:
    """Lay the settings that suit a pretrained student under what a person has said: each is taken only where neither
    the values nor the study they are laid over say anything else. A study that had the student before, or that is given
    whole (a stored one), is left alone.
    """
    name = str(current["student"].get("name", ""))
    entry = entry_of(name)
    had = base is not None and (
        name == base.student.name or (entry is not None and entry_of(base.student.name) is entry)
    )
    if _is_whole(values) or had:
        return
    said = {str(key) for key in values} | {
        f"{key}.{inner}" for key, value in values.items() if isinstance(value, Mapping) for inner in value
    }
    configs: dict[str, Any] = {"training": TrainingConfig(), "student": StudentConfig()}
    rank = current["student"].get("lora_rank", 0)
    student = StudentConfig(name=name, lora_rank=rank if isinstance(rank, int) else 0)
    for setting, value in suited(student, str(current["training"].get("device", "cpu"))).items():
        outer, _, inner = setting.partition(".")
        if setting not in said and current[outer].get(inner) == getattr(configs[outer], inner):
            current[outer] = {**current[outer], inner: value}


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ConfigError([f"{name} is {value!r}; expected a list of {name} or text with commas"])
    return list(value)


def read_study_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; UsageError if there is none."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}.", "Name a built-in study or a YAML file.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path} cannot be read as YAML: {str(error).splitlines()[0]}",
            "Expected a mapping such as: task: field_guide",
        ) from error
    if not isinstance(values, dict):
        raise UsageError(
            f"{path} holds {type(values).__name__}; expected a mapping of study settings.",
            "For example: task: field_guide",
        )
    return values


@dataclass(frozen=True, slots=True)
class BuiltInStudy:
    """A study that comes with the product; `make` gives its spec."""

    name: str
    help: str
    make: Callable[[], StudySpec]


STUDIES: Registry[BuiltInStudy] = Registry("study")

_STARTER = (
    "undistilled",
    "label_only",
    "pre_cot",
    "post_cot",
    "post_cot/shuffle(unit=token)",
    "post_cot/shuffle(unit=sentence)",
    "post_cot/random_tokens",
    "post_cot/swap(partner=other_label)",
    "label_only@tokens=post_cot",
    "post_cot@source=answer_first_long",
)


def _from_environment(name: str, default: int) -> int:
    """The starter study can be made smaller, for tests and slow machines: COTDISTILL_STARTER_STEPS, _BASE_STEPS,
    _REPLICATES.
    """
    text = os.environ.get(f"COTDISTILL_STARTER_{name}", "")
    if text and not text.isdigit():
        raise UsageError(f"COTDISTILL_STARTER_{name} is {text!r}; expected a whole number.", "Unset it or correct it.")
    return int(text) if text else default


def starter() -> StudySpec:
    """One generated world, one base, the paper's three placements and their controls."""
    return checked(
        StudySpec(
            name="starter",
            title="Starter study: where should the rationale go, and must it be coherent?",
            training=TrainingConfig(steps=_from_environment("STEPS", 600)),
            base_steps=_from_environment("BASE_STEPS", 1500),
            conditions=_STARTER,
            replicates=_from_environment("REPLICATES", 5),
            fixed_seeds={"world": 0, "base": 0, "split": 0},
            baseline="label_only",
        )
    )


def starter_worlds() -> StudySpec:
    """The starter study over several worlds: each replicate has a world and a base of its own, so the world is the unit
    of inference.
    """
    return dataclasses.replace(
        starter(),
        name="starter-worlds",
        title="Starter study over five worlds: does it hold beyond one of them?",
        conditions=(*starter().conditions, "pre_cot@source=answer_first_long"),
        fixed_seeds={},
    )


def token_mean(make: Callable[[], StudySpec]) -> StudySpec:
    """The twin of a study under the other loss, one mean over all target tokens: there a word of the rationale weighs
    the same in every condition.
    """
    spec = make()
    return dataclasses.replace(
        spec,
        name=f"{spec.name}-token-mean",
        title=f"{spec.title.split(':')[0]} under the token-mean loss",
        training=dataclasses.replace(spec.training, loss="token_mean"),
    )


K_GRID = (1, 2, 3, 5, 10, 15, 20)
SWEPT = ("integrated_gradients", "influence", "tf_idf", "random")
# The planned comparison of claim 3 is made with this selector and number.
PRIMARY, PRIMARY_K = "integrated_gradients", 5


def keytokens() -> StudySpec:
    """Claim 3: a few key words against the whole rationale, with their controls, and a sweep of k for several
    selectors.
    """
    chosen = f"(selector={PRIMARY},k={PRIMARY_K})"
    planned = (
        f"post_cot/key_tokens{chosen}",
        f"post_cot/matched_random_k{chosen}",
        f"post_cot/drop_key_tokens{chosen}",
        f"post_cot/bottom_k{chosen}",
        f"post_cot/strip_labels/key_tokens{chosen}",
        "post_cot/label_text_only",
        f"post_cot/key_tokens{chosen}@tokens=post_cot",
        f"post_cot/matched_random_k{chosen}@tokens=post_cot",
        "label_only@tokens=post_cot",
    )
    sweep = tuple(f"post_cot/key_tokens(selector={selector},k={k})" for selector in SWEPT for k in K_GRID)
    return checked(
        dataclasses.replace(
            starter(),
            name="keytokens",
            title="Key tokens: do a few words do as much as the whole rationale?",
            conditions=("undistilled", "label_only", "pre_cot", "post_cot", *planned, *sweep),
        )
    )


# Ablations of a worked solution (arXiv 2502.07374), each one condition; a step of this task is a sentence.
ARITHMETIC = (
    "label_only",
    "pre_cot",
    "post_cot",
    "pre_cot/shuffle(unit=sentence)",
    "pre_cot/shuffle(unit=token)",
    "pre_cot/drop(unit=sentence,fraction=0.34)",
    "pre_cot@source=mistaken",
    "post_cot/shuffle(unit=token)",
    "post_cot/random_tokens",
    "label_only@tokens=post_cot",
)


def arithmetic() -> StudySpec:
    """Where answers are computed, not remembered: the placements, and what a worked solution loses by being changed."""
    return checked(
        StudySpec(
            name="arithmetic",
            title="Arithmetic: does the order of the placements hold where answers are computed?",
            task="arithmetic",
            training=TrainingConfig(steps=600, evaluations=2, dev_examples=0, checkpoints="1"),
            conditions=ARITHMETIC,
            replicates=5,
            fixed_seeds={"world": 0, "base": 0, "split": 0},
            baseline="label_only",
            terminator="on",
        )
    )


# What else might do what a rationale after the label does; see `studies.rivals`.
RIVALS = (
    "label_only+label_smoothing(epsilon=0.1)",
    "label_only+word_dropout(share=0.1)",
    "label_only+self_distillation",
    "label_only+margin",
    "label_only@tokens=post_cot",
    "post_cot/random_tokens",
    "post_cot/label_text_only",
    "post_cot/swap(partner=other_label)",
    "multitask",
    "mixed",
    "pre_cot+stepwise_removal",
    "post_cot+stepwise_removal",
    "post_cot+token_weights(selector=tf_idf)",
    "post_cot+last_to_all",
    "pre_cot",
    "pre_cot+counterfactual",
    "pre_cot+self_generated",
)


def neighbours() -> StudySpec:
    """What related work would explain the gain by, against the rationale itself."""
    return checked(
        dataclasses.replace(
            starter(),
            name="neighbours",
            title="Neighbours: which rival explanation accounts for how much of the gain?",
            conditions=("undistilled", "label_only", "post_cot", *RIVALS),
        )
    )


STUDIES.register(
    BuiltInStudy("starter", "one generated world, small students, the paper's placements with their controls", starter)
)
STUDIES.register(
    BuiltInStudy(
        "starter-worlds", "the same over five generated worlds, the world as the unit of inference", starter_worlds
    )
)


STUDIES.register(
    BuiltInStudy(
        "keytokens", "claim 3: key words by several selectors, their controls, and a sweep of how many", keytokens
    )
)


STUDIES.register(
    BuiltInStudy(
        "arithmetic", "written number answers, computed step by step: placements and changed solutions", arithmetic
    )
)
STUDIES.register(
    BuiltInStudy(
        "neighbours", "rival explanations from related work, and how much of the gain each accounts for", neighbours
    )
)


STUDIES.register(
    BuiltInStudy(
        "starter-token-mean",
        "the starter study under the token-mean loss: claim 2's other half",
        lambda: token_mean(starter),
    )
)
STUDIES.register(
    BuiltInStudy(
        "keytokens-token-mean",
        "the study keytokens under the token-mean loss: claim 3's other half",
        lambda: token_mean(keytokens),
    )
)


# Questions that the study `real` scores: an interval of about 4 points on each side, in half of the time.
REAL_TEST_ROWS = 600


def real() -> StudySpec:
    """The placements and their controls on real text, on a pretrained student that fits a laptop."""
    conditions = (
        "undistilled",
        "label_only",
        "pre_cot",
        "post_cot",
        "post_cot/shuffle(unit=token)",
        "post_cot/random_tokens",
        "post_cot/swap(partner=other_label)",
    )
    return spec_from_mapping(
        {
            "name": "real",
            "title": "A pretrained student on real text: do rationales help it, and must they be coherent?",
            "task": "commonsenseqa",
            "student": "smollm2-135m",
            "conditions": ",".join(conditions),
            "budget": "tokens",
            "replicates": 5,
            "baseline": "label_only",
            "test_rows": REAL_TEST_ROWS,
            "training.dev_examples": 100,
        }
    )


STUDIES.register(
    BuiltInStudy("real", "CommonsenseQA by SmolLM2 135M: placements and controls on real text; for a night", real)
)


def study_spec(name: str | None, overrides: Mapping[str, Any]) -> StudySpec:
    """A built-in study, a YAML file or a new study, with settings laid over it. A variant of a named study keeps its
    name.
    """
    if name is None:
        values = {"name": f"{overrides.get('task', 'study')}", **overrides}
        return spec_from_mapping(values)
    if name in STUDIES:
        return spec_from_mapping(overrides, STUDIES.get(name).make())
    if name.endswith((".yaml", ".yml")) or Path(name).is_file():
        values = read_study_file(Path(name))
        return spec_from_mapping({"name": Path(name).stem, **values, **overrides})
    raise UnknownName("study", name, STUDIES.names())
