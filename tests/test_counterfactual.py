"""The counterfactual objective (SCOTT): where its rationales come from, what a student reads, and its loss by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from cotdistill.config import RunConfig, TrainingConfig
from cotdistill.dashboard.widgets import example
from cotdistill.errors import GrammarError, NoRationale, UnknownName
from cotdistill.execution.jobs.train import laid_out
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.counterfactual import supplied
from cotdistill.rationales.placement import MODES
from cotdistill.report import following as views
from cotdistill.results import following
from cotdistill.students.batches import collate
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.students.objectives.combined import Objectives
from cotdistill.students.preparation import prepare
from cotdistill.students.scoring.following import COLUMNS, followed
from cotdistill.students.tokens import LABEL, NO_LOSS, RATIONALE, Encoder
from cotdistill.tasks.added import add_source, reopened
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import Argued, Counterfactual
from cotdistill.tasks.generated.world import WorldSettings, counterfactual, examples, make_world, rationale, world_of
from cotdistill.tasks.generated.world_words import GROUPS
from cotdistill.tasks.importing.writing import write_task
from cotdistill.tasks.task import Rationale
from tests.conftest import WORDS

TEXT = "pre_cot+counterfactual"


def argued(rows):
    """The bird's rows argue for the pond; the third has none."""
    return [
        Argued.of(row, Counterfactual("B", "the animal swims .")) if place != 2 else row
        for place, row in enumerate(rows)
    ]


def prepared(encoder, rows, text=TEXT, **more):
    run = RunConfig(
        "t",
        "0" * 64,
        text,
        source="teacher",
        sources=("teacher",),
        training=TrainingConfig(steps=4, batch_size=2, **more),
    )
    return prepare(encoder, {"teacher": rows}, run, 128)


def test_the_rules_give_a_wrong_choice_and_a_group_that_has_it():
    world = make_world(3, WorldSettings(documents=0))
    rows = examples(world)[:400]
    for row in rows:
        found = counterfactual(world, row, "deductive")
        assert found.answer != row.answer and found == counterfactual(world, row, "deductive")
        value = next(choice.text for choice in row.choices if choice.label == found.answer)
        said = found.rationale.split()
        group = next(word for word in said if word.removesuffix("s") in GROUPS or word in GROUPS).removesuffix("s")
        assert world.table[group, row.metadata["relation"]] == value and value in said
    # Alike to the word but for group and value where nothing else is drawn that depends on them.
    plain = make_world(3, WorldSettings(documents=0, elimination=0.0))
    row = examples(plain)[0]
    own, other = rationale(plain, row, "deductive").split(), counterfactual(plain, row, "deductive").rationale.split()
    assert len(own) == len(other) and 0 < sum(a != b for a, b in zip(own, other, strict=True)) <= 4


def test_a_generated_task_supplies_them_and_an_imported_one_only_from_a_source_for_wrong_answers(
    tmp_path, examples, terse
):
    made = open_task(tmp_path, "field_guide", world=1, settings={"creatures": 20, "documents": 0})
    rows = made.examples("train")
    world = world_of(made)
    found = supplied(made, rows, parse(TEXT), "answer_first")
    assert [row.counterfactual for row in found] == [counterfactual(world, row, "answer_first") for row in rows]
    assert supplied(made, rows, parse("pre_cot"), "mixed") == rows
    # Page Data shows both.
    card = example._card(made, "answer_first", "train", rows[0], parse(TEXT), 0)
    ends = [[piece.text.strip() for piece in one][-1] for one in card.sequences]
    assert ends == [
        rows[0].answer_text,
        next(c.text for c in rows[0].choices if c.label == found[0].counterfactual.answer),
    ]
    imported = write_task(
        tmp_path, "zoo", examples=[*examples, replace(examples[0], id="t1", split="test")], rationales=[Rationale("e1", "teacher", "it flies .")],
        template=terse, roles={}, title="Zoo", help="", default_source="teacher", artificial=False, tokenizer_kind="word", minimum=1,
    )  # fmt: skip
    assert world_of(imported) is None
    with pytest.raises(NoRationale, match="not made by rules"):
        supplied(imported, imported.examples("train"), parse(TEXT), "teacher")
    with pytest.raises(UnknownName):
        supplied(imported, imported.examples("train"), parse("pre_cot+counterfactual(rationales=ark)"), "teacher")
    # e1 is argued to be in the pond (wrong), e2 too (right there); nobody speaks of the others.
    name = add_source(
        imported, "ark", [Rationale("e1", "", "it swims .", "B"), Rationale("e2", "", "it has fins .", "B")], {}
    )
    imported = reopened(imported)
    found = supplied(
        imported, imported.examples("train"), parse(f"pre_cot+counterfactual(rationales={name})"), "teacher"
    )
    assert found == [
        Argued.of(imported.examples("train")[0], Counterfactual("B", "it swims .")),
        *imported.examples("train")[1:],
    ]
    with pytest.raises(NoRationale, match="argues for no wrong choice"):
        supplied(
            imported, imported.examples("train")[1:], parse(f"pre_cot+counterfactual(rationales={name})"), "teacher"
        )
    # The right answer's text under a second label is no wrong answer either.
    first, *rest = imported.examples("train")
    twice = replace(
        first, choices=(first.choices[0], replace(first.choices[1], text=first.answer_text), *first.choices[2:])
    )
    with pytest.raises(NoRationale, match="argues for no wrong choice"):
        supplied(imported, [twice, *rest], parse(f"pre_cot+counterfactual(rationales={name})"), "teacher")


@pytest.mark.parametrize(
    "text",
    [
        "post_cot+counterfactual",
        "label_only+counterfactual",
        f"pre_cot/shuffle{TEXT[7:]}",
        f"{TEXT}+margin",
        f"{TEXT}+stepwise_removal",
    ],
)
def test_what_it_does_not_go_with_is_refused(text):
    with pytest.raises(GrammarError):
        parse(text)


def test_a_student_reads_both_under_their_tags_and_is_asked_under_the_first(encoder, examples, tmp_path):
    rows, condition = argued(examples), parse(TEXT)
    own, other = encoder.sequences(encoder.corpus(rows), 0, condition, 0)
    # The vocabulary lacks the two words: the template's tags stand for them.
    assert "".join(encoder.pieces(own)).startswith(" [ rationale ] where does the bird")
    assert "".join(encoder.pieces(other)).endswith(" because : the animal swims . answer : pond")
    assert "".join(encoder.pieces(other)).startswith(" [ label ] where") and list(other.loss) == [NO_LOSS] * (
        len(other) - 1
    ) + [LABEL]
    # Rationale of 13 tokens with the two of the cue that ends it, then the label.
    assert (list(own.loss).count(RATIONALE), list(own.loss).count(LABEL)) == (15, 1)
    assert len(encoder.sequences(encoder.corpus(rows), 2, condition, 0)) == 1
    assert {condition.spec.prompt(mode)[0] for mode in MODES} == {"task:factual"} and condition.spec.primary == "own"
    tokenizer = Tokenizer(
        WordLevel({word: i for i, word in enumerate([*WORDS, "factual", "counterfactual"])}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    tokenizer.save(str(tmp_path / "more.json"))
    knows = Encoder(tmp_path / "more.json", encoder.template)
    tags = ["".join(knows.pieces(one))[:19] for one in knows.sequences(knows.corpus(rows), 0, condition, 0)]
    assert tags[0].startswith(" [ factual ]") and tags[1] == " [ counterfactual ]"
    # However a vocabulary calls what it does not know.
    tokenizer = Tokenizer(
        WordLevel({word: i for i, word in enumerate("[UNK]" if w == "<unk>" else w for w in WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    tokenizer.save(str(tmp_path / "other.json"))
    lacks = Encoder(tmp_path / "other.json", encoder.template)
    assert ["".join(lacks.pieces(one))[:9] for one in lacks.sequences(lacks.corpus(rows), 0, condition, 0)] == [
        " [ ration",
        " [ label ",
    ]


def test_its_loss_is_the_weighted_sum_of_both_by_hand(encoder, examples):
    rows = argued(examples)
    made = prepared(encoder, rows, f"{TEXT}(alpha=0.25)", rationale_weight=0.5)
    assert made.facts.factual_rows == 1
    own, other = made.training_set.rows(0, 0)
    batch = collate([own, other], 0)
    logits = torch.from_numpy(
        np.random.default_rng(0).normal(size=(len(batch.targets), encoder.vocabulary_size)).astype(np.float32)
    )
    targets, weights = torch.from_numpy(batch.targets), torch.from_numpy(batch.weights)
    total, _ = Objectives(parse(TEXT).objectives).loss(logits, targets, weights, batch)
    nll = -torch.log_softmax(logits, -1)[torch.arange(len(targets)), targets].numpy()
    told, label, wrong = nll[:15], nll[15:16], nll[16:]
    assert list(batch.groups) == [RATIONALE] * 15 + [LABEL] * 2
    assert float(total) == pytest.approx(0.75 * (label.mean() + 0.5 * told.mean()) + 0.25 * wrong.mean(), rel=1e-5)
    # A row that nobody argued against weighs what it always did; without the tag it would be plain pre-CoT.
    (alone,) = made.training_set.rows(2, 0)
    (plain,) = prepared(encoder, rows, "pre_cot", rationale_weight=0.5).training_set.rows(2, 0)
    assert alone.weights[3:] == pytest.approx(plain.weights) and list(alone.ids[3:]) == list(plain.ids)


def test_a_budget_named_by_it_counts_both_of_its_sequences(tmp_path):
    made = open_task(tmp_path, "field_guide", world=1, settings={"creatures": 20, "documents": 0})
    reads = Encoder(made.tokenizer("mixed", "word"), made.template)

    def seen(text):
        run = RunConfig(
            "t", "0" * 64, text, source="mixed", sources=("mixed",), training=TrainingConfig(steps=10, batch_size=4)
        )
        one = laid_out(made, reads, run, 512)
        steps = [
            [len(row.ids) for i, epoch in one.stream.step(step) for row in one.training_set.rows(i, epoch)]
            for step in range(one.steps)
        ]
        return steps, sum(map(sum, steps))

    wanted, both = seen(TEXT)
    assert len(wanted) == 10 and {len(step) for step in wanted} == {8}
    steps, total = seen(f"label_only@tokens=({TEXT})")
    # The fewest steps after which it has seen as much.
    assert total >= both > total - sum(steps[-1])


def test_every_tag_is_held_against_every_rationale_and_counted_by_hand(encoder, examples):
    rows, condition = [row for place, row in enumerate(argued(examples)) if place != 2], parse(TEXT)
    model = new_built_in(
        BuiltIn("tiny", "for tests", layers=1, width=16, heads=2, positions=64), encoder.vocabulary_size, seed=0
    )
    table = followed(model, encoder, rows, condition.spec, metric="sum")
    assert list(table.columns) == list(COLUMNS) and len(table) == 4 * 6
    for (tag, told), part in table.groupby(["tag", "rationale"], sort=False):
        for row, (_, one) in zip(rows, part.iterrows(), strict=True):
            text = {"given": f"because : {row.rationale} ", "wrong": "because : the animal swims . ", "none": ""}[told]
            prompt = f"{'[ rationale ]' if tag == 'factual' else '[ label ]'} {row.question} choices : tree , pond , house , kennel {text}answer :"
            with torch.no_grad():
                last = model(input_ids=torch.tensor([[WORDS.index(word) for word in prompt.split()]])).logits[0, -1]
            best = int(torch.stack([last[WORDS.index(choice.text)] for choice in row.choices]).argmax())
            assert (one.predicted, one.right, one.argued) == (best, row.gold == best, best == 1)


def test_shares_by_tag_and_rationale_are_counted_over_replicates():
    def run(answers):
        # Four questions of their own; the right choice is 0, the one that the wrong rationale argues for 1.
        rows = [
            (f"q{i}", f"q{i}", tag, told, answer, answer == 0, answer == 1)
            for (tag, told), row in answers.items()
            for i, answer in enumerate(row)
        ]  # fmt: skip
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        cells = dict(tuple(frame.groupby(["tag", "rationale"], sort=False)))
        return following._FollowedRun(("q0", "q1", "q2", "q3"), ("q0", "q1", "q2", "q3"), cells)

    follows = {
        (tag, told): [0] * 4 if told == "given" else [1] * 4 for tag in following.TAGS for told in following.RATIONALES
    }
    obeys = {
        (tag, told): [0] * 4 if tag == "factual" else [1, 1, 1, 2]
        for tag in following.TAGS
        for told in following.RATIONALES
    }
    one = following._over(TEXT, [run(follows)], 1)
    assert {key: found.mean for key, found in one.by_tag.items()} == {"given": 0.0, "wrong": 0.0, "none": 0.0}
    assert (
        one.by_rationale["factual"].mean == one.argued["factual", "wrong"].mean == 1.0
        and one.right["factual", "given"].mean == 1.0
    )
    assert (
        "the tag does not decide; it changes 0.0 % of the answers, a rationale for a wrong choice 100.0 %"
        in views.title(one)
    )
    both = following._over(TEXT, [run(follows), run(obeys)], 2)
    assert (
        both.by_tag["given"].mean == 0.5
        and both.argued["counterfactual", "none"].mean == (1 + 0.75) / 2
        and both.replicates == 2
    )
    assert "the tag decides more" in views.title(following._over(TEXT, [run(obeys)], 1))
