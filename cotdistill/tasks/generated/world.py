"""The generated task, `field_guide`: an artificial world in which a rationale names what the question hides.

Creatures belong to groups; every fact is a fact of the group. A question names the creature, a rationale names the
group ("it is a burrower"), so a student that learns which creature belongs to which group answers questions about
relations it never saw with that creature.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cotdistill.config import check, from_mapping, hashed, param, plain, stable_seed
from cotdistill.tasks.example import Choice, Counterfactual, Example
from cotdistill.tasks.generated.world_words import (
    ANSWERS_FIRST,
    CONCLUSIONS,
    ELIMINATIONS,
    ENDS,
    FILLERS,
    GROUPS,
    MIDDLES,
    OPENERS,
    PEOPLE,
    PROPERTIES,
    QUESTIONS,
    STARTS,
    TYPES,
    VALUES,
)
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.task import Rationale, Task
from cotdistill.tasks.template import Template

# Raised when the same seed gives another world.
VERSION = 1
STYLES = ("mixed", "deductive", "answer_first", "answer_first_long")
RELATIONS = tuple(VALUES)

TEMPLATE = Template(
    question="{question}",
    choices=" choices : {choices}",
    choice="{text}",
    between=" , ",
    label_cue=" answer :",
    rationale_cue=" because :",
    label_task="label task : ",
    rationale_task="rationale task : ",
)


@dataclass(frozen=True)
class WorldSettings:
    """The dials of the generated task."""

    creatures: int = param(240, "invented creatures, each of one group", low=20, high=1500)
    groups: int = param(18, "groups; every value is shared by about groups / 6 of them", low=6, high=18)
    choices: int = param(4, "choices a question; chance is one of them", low=2, high=6)
    trained_relations: int = param(
        2, "relations a creature has in the training split; the others are held out", low=1, high=7
    )
    wordings: int = param(
        4, "wordings of each training pair: question, choices and rationale drawn again", low=1, high=50
    )
    teacher_error: float = param(
        0.05, "share of the creatures for which the teacher believes a wrong group", low=0.0, high=1.0
    )
    opener: float = param(0.3, "share of the rationales with an opener", low=0.0, high=1.0)
    filler: float = param(0.5, "share with an irrelevant sentence", low=0.0, high=1.0)
    elimination: float = param(0.25, "share that rule out a wrong choice", low=0.0, high=1.0)
    conclusion: float = param(0.45, "share that end with a conclusion", low=0.0, high=1.0)
    step_noise: float = param(
        0.0,
        "share of the reasoning steps (group, property) that are false (arXiv 2410.02167)",
        low=0.0,
        high=1.0,
        later=True,
    )
    irrelevant_steps: float = param(
        0.0,
        "share of the reasoning steps with an irrelevant sentence before them (arXiv 2410.02167)",
        low=0.0,
        high=1.0,
        later=True,
    )
    without_rationales: float = param(
        0.0,
        "share of the creatures whose training rows have no rationale; test questions say of which kind they are",
        low=0.0,
        high=1.0,
        later=True,
    )
    documents: int = param(8000, "documents for the shared base, on groups only", low=0, high=200_000)


@dataclass(frozen=True)
class World:
    """The facts of one world: which group each creature belongs to, which the teacher believes, and the value of each
    group and relation.
    """

    settings: WorldSettings
    seed: int
    group_of: Mapping[str, str]
    believed: Mapping[str, str]
    table: Mapping[tuple[str, str], str]
    trained: Mapping[str, tuple[str, ...]]
    split_of: Mapping[str, str]

    def random(self, *parts: int | str) -> random.Random:
        """A generator of its own for each purpose, so that one dial does not shift what another draws."""
        return random.Random(stable_seed("world", self.seed, *parts))


def make_world(seed: int, settings: WorldSettings) -> World:
    """Draw a world. Values are shared out evenly over groups, groups over creatures, trained relations over
    creatures.
    """
    check(settings)
    rng = random.Random(stable_seed("facts", seed))
    groups = list(GROUPS[: settings.groups])
    table: dict[tuple[str, str], str] = {}
    for relation, values in VALUES.items():
        spread = [values[i % len(values)] for i in range(len(groups))]
        rng.shuffle(spread)
        table |= {(group, relation): value for group, value in zip(groups, spread, strict=True)}
    taken = {word for values in VALUES.values() for word in values} | set(GROUPS)
    names = sorted({a + b + c for a in STARTS for b in MIDDLES for c in ENDS} - taken)
    rng.shuffle(names)
    names = names[: settings.creatures]
    group_of = {name: groups[i % len(groups)] for i, name in enumerate(names)}
    # A generator of its own: another share of errors leaves relations and splits as they are.
    teacher = random.Random(stable_seed("teacher", seed))
    wrong = set(teacher.sample(names, len(names))[: round(settings.teacher_error * len(names))])
    believed = {
        n: teacher.choice([g for g in groups if g != group_of[n]]) if n in wrong else group_of[n] for n in names
    }
    # Each creature trains the next relations of a shuffled wheel: every relation is trained equally often.
    trained: dict[str, tuple[str, ...]] = {}
    wheel: list[str] = []
    for name in names:
        picked: list[str] = []
        while len(picked) < settings.trained_relations:
            if not wheel:
                wheel = list(RELATIONS)
                rng.shuffle(wheel)
            at = next((i for i, relation in enumerate(wheel) if relation not in picked), None)
            if at is None:
                wheel += rng.sample(RELATIONS, len(RELATIONS))
                continue
            picked.append(wheel.pop(at))
        trained[name] = tuple(picked)
    by_name = rng.sample(names, len(names))
    split_of = {name: "dev" if i < len(names) // 4 else "test" for i, name in enumerate(by_name)}
    return World(settings, seed, group_of, believed, table, trained, split_of)


def without_rationales(world: World) -> frozenset[str]:
    """The creatures whose training rows have no rationale. A wider share holds all those of a narrower one."""
    names = sorted(world.group_of)
    order = world.random("without_rationales").sample(names, len(names))
    return frozenset(order[: round(world.settings.without_rationales * len(names))])


def _choices(world: World, relation: str, gold: str, rng: random.Random) -> tuple[tuple[Choice, ...], str]:
    others = rng.sample([value for value in VALUES[relation] if value != gold], world.settings.choices - 1)
    texts = rng.sample([gold, *others], world.settings.choices)
    choices = tuple(Choice("ABCDEF"[i], text) for i, text in enumerate(texts))
    return choices, choices[texts.index(gold)].label


def _question(relation: str, wording: int, subject: str, rng: random.Random) -> str:
    return QUESTIONS[relation][wording].format(x=subject, p=rng.choice(PEOPLE))


def examples(world: World) -> list[Example]:
    """All questions: each trained pair in several wordings, each held-out pair once, in dev or test by creature."""
    built = []
    bare = without_rationales(world)
    for name, group in world.group_of.items():
        # Named only where the dial is turned: a world without it keeps its bytes.
        kind = {"rationales": "none" if name in bare else "in training"} if bare else {}
        for relation in RELATIONS:
            trains = relation in world.trained[name]
            rng = world.random("question", name, relation)
            order = rng.sample(range(3), 3)
            for wording in range(world.settings.wordings if trains else 1):
                choices, answer = _choices(world, relation, world.table[group, relation], rng)
                built.append(
                    Example(
                        id=f"w{world.seed}-{name}-{relation}-{wording}",
                        question=_question(relation, order[wording % 3], name, rng),
                        choices=choices,
                        answer=answer,
                        split="train" if trains else world.split_of[name],
                        cluster=f"w{world.seed}-{name}",
                        metadata={
                            "creature": name,
                            "group": group,
                            "relation": relation,
                            "wording": wording,
                            "teacher_believes": world.believed[name],
                            **kind,
                        },
                    )
                )
    return built


def rationale(world: World, example: Example, style: str) -> str:
    """What the teacher says of a question in a style: the group it believes, the property that leads to the right
    answer, in either order; now and then an opener, an irrelevant sentence, a wrong choice ruled out, a conclusion. It
    never names the creature."""
    rng = world.random("rationale", style, example.id)
    if style == "mixed":
        style = rng.choice(("deductive", "answer_first"))
    settings, value = world.settings, example.answer_text
    group, relation = str(example.metadata["teacher_believes"]), str(example.metadata["relation"])
    core = [rng.choice(TYPES).format(g=group), rng.choice(PROPERTIES[relation]).format(g=group, v=value)]
    core = _noisy(world, example, style, core)
    rng.shuffle(core)
    core = _padded(world, example, style, core)
    wrong = rng.choice([c.text for c in example.choices if c.label != example.answer])
    before = [rng.choice(OPENERS)] if rng.random() < settings.opener else []
    after = [rng.choice(ELIMINATIONS).format(w=wrong)] if rng.random() < settings.elimination else []
    filler = [rng.choice(FILLERS)] if rng.random() < settings.filler else []
    last = [rng.choice(CONCLUSIONS).format(v=value)] if rng.random() < settings.conclusion else []
    if style == "deductive":
        said = [*before, *core, *filler, *after, *last]
    else:
        first = [rng.choice(ANSWERS_FIRST).format(v=value)]
        long = rng.sample(FILLERS, 2) if style == "answer_first_long" else filler
        said = [
            *first,
            *(long if style == "answer_first_long" else []),
            *core,
            *(filler if style == "answer_first" else []),
            *after,
        ]
    return " ".join(said)


def _noisy(world: World, example: Example, style: str, core: Sequence[str]) -> list[str]:
    """The two steps, each false with the world's share: another group than the believed one, another value than the
    right one. A wider share makes more of the same steps false, and says of them the same."""
    rng = world.random("step_noise", style, example.id)
    group, relation, value = (
        str(example.metadata["teacher_believes"]),
        str(example.metadata["relation"]),
        example.answer_text,
    )
    groups = [g for g in GROUPS[: world.settings.groups] if g != group]
    false = (
        rng.choice(TYPES).format(g=rng.choice(groups)),
        rng.choice(PROPERTIES[relation]).format(g=group, v=rng.choice([v for v in VALUES[relation] if v != value])),
    )
    return [
        wrong if rng.random() < world.settings.step_noise else step for step, wrong in zip(core, false, strict=True)
    ]


def _padded(world: World, example: Example, style: str, core: Sequence[str]) -> list[str]:
    """The steps with irrelevant sentences before some of them, each time another one."""
    rng = world.random("irrelevant_steps", style, example.id)
    fillers = rng.sample(FILLERS, len(core))
    said = []
    for filler, step in zip(fillers, core, strict=True):
        said += [filler, step] if rng.random() < world.settings.irrelevant_steps else [step]
    return said


def reworded(world: World, example: Example, style: str) -> str:
    """What the same teacher says of a question when it is asked once more: the same group and value, wordings and side
    remarks drawn again.
    """
    return rationale(world, replace(example, id=f"{example.id} reworded"), style)


def counterfactual(world: World, example: Example, style: str) -> Counterfactual:
    """What the rules give for a wrong choice: the rationale of a question whose creature belongs to a group that has
    this value. Drawn as the teacher's own is, so both are alike but for the group and the value."""
    rng, relation = world.random("counterfactual", example.id), str(example.metadata["relation"])
    wrong = rng.choice([choice for choice in example.choices if choice.label != example.answer])
    group = rng.choice(
        [group for group in GROUPS[: world.settings.groups] if world.table[group, relation] == wrong.text]
    )
    other = replace(example, answer=wrong.label, metadata={**example.metadata, "teacher_believes": group})
    return Counterfactual(wrong.label, rationale(world, other, style))


def world_of(task: Task) -> World | None:
    """The world that a task was made from; None for any other task."""
    if not task.has_world:
        return None
    return make_world(int(task.info["world"]), from_mapping(WorldSettings, task.info["settings"]))


def documents(world: World) -> list[str]:
    """What the shared base reads: facts, questions with answers, and explanations in both orders, on groups only, never
    on a creature.
    """
    return list(_documents(world))


def _documents(world: World) -> Iterator[str]:
    rng = world.random("documents")
    groups = list(GROUPS[: world.settings.groups])
    for number in range(world.settings.documents):
        group, relation = rng.choice(groups), rng.choice(RELATIONS)
        value = world.table[group, relation]
        fact = rng.choice(PROPERTIES[relation]).format(g=group, v=value)
        if number % 4 == 0:
            other = rng.choice(RELATIONS)
            yield f"{fact} {rng.choice(PROPERTIES[other]).format(g=group, v=world.table[group, other])}"
            continue
        choices, answer = _choices(world, relation, value, rng)
        asked = Example("", _question(relation, rng.randrange(3), group, rng), choices, answer, "")
        prompt = TEMPLATE.question_text(asked) + TEMPLATE.choices_text(asked)
        said = [fact]
        if rng.random() < 0.4:
            said.insert(rng.randrange(2), rng.choice([*OPENERS, *FILLERS]))
        if rng.random() < 0.2:
            said.append(rng.choice(ELIMINATIONS).format(w=rng.choice([c.text for c in choices if c.text != value])))
        if rng.random() < 0.4:
            said.insert(
                *rng.choice(
                    (
                        (0, rng.choice(ANSWERS_FIRST).format(v=value)),
                        (len(said), rng.choice(CONCLUSIONS).format(v=value)),
                    )
                )
            )
        joined = " ".join(said)
        yield {
            1: f"{prompt}{TEMPLATE.label_cue} {value}",
            2: f"{prompt}{TEMPLATE.label_cue} {value}{TEMPLATE.rationale_cue} {joined}",
            3: f"{prompt}{TEMPLATE.rationale_cue} {joined}{TEMPLATE.label_cue} {value}",
        }[number % 4]


def _is_bare(example: Example) -> bool:
    """Whether a training row has no rationale; those of dev and test always have one, for the diagnostics that give
    it.
    """
    return example.split == "train" and example.metadata.get("rationales") == "none"


def materialise(root: Path, name: str, seed: int, settings: Mapping[str, Any]) -> Task:
    """Make the world of a seed as a task under `root`. The same seed and settings give the same bytes."""
    checked = from_mapping(WorldSettings, settings)
    world = make_world(seed, checked)
    rows: Sequence[Example] = examples(world)
    rationales = [
        Rationale(e.id, style, rationale(world, e, style)) for style in STYLES for e in rows if not _is_bare(e)
    ]
    held = len(RELATIONS) - checked.trained_relations
    return write_task(
        root,
        name,
        examples=rows,
        rationales=rationales,
        template=TEMPLATE,
        roles={
            "train": f"{checked.trained_relations} relations a creature, {checked.wordings} wordings each",
            "dev": f"the other {held} relations of a quarter of the creatures",
            "test": f"the other {held} relations of three quarters of the creatures",
        },
        title="Field guide (artificial)",
        help="A made-up world of creatures, groups and facts; rationales name the group that the question hides.",
        default_source="mixed",
        artificial=True,
        tokenizer_kind="word",
        minimum=1,
        documents=[*documents(world)],
        info={
            "generator": "field_guide",
            "version": VERSION,
            "world": seed,
            "settings": hashed(WorldSettings, plain(checked)),
        },
    )
