"""Tokenisation lint on tokenizers small enough to merge by hand, and the naive target as a condition."""

import json
from dataclasses import replace

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from cotdistill.config import RunConfig, StudentConfig, TrainingConfig
from cotdistill.errors import GrammarError
from cotdistill.planning.plan import plan
from cotdistill.rationales.conditions import parse, parse_list
from cotdistill.store.store import Store
from cotdistill.students.lint import limit_of, lint
from cotdistill.students.preparation import prepare
from cotdistill.students.scoring.evaluation import primary_metric
from cotdistill.students.tokens import Encoder
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.template import Template
from tests.conftest import example
from tests.terminal import check_keys, speaker

# Every letter, space and line break is a token (Ġ is the space, Ċ the line break), and these merges: whole words only behind a space.
MERGES = [("Ġ", "p"), ("Ġp", "o"), ("Ġpo", "n"), ("Ġpon", "d"), ("Ġ", "r"), ("Ġr", "e"), ("Ġre", "d"), ("?", "Ċ")]
TEMPLATE = Template(
    question="{question}", choices="\nof {choices}", choice=" {text}", label_cue="\nA", rationale_cue="\nB"
)


@pytest.fixture
def merging(tmp_path):
    """A byte-level BPE whose question mark takes the line break that follows it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = [a + b for a, b in MERGES]
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate([*alphabet, *merged])}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<eos>")])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def row(*texts, question="is it?", rationale=None, id="e"):
    return Example(id, question, tuple(Choice("ABC"[i], text) for i, text in enumerate(texts)), "A", "train", rationale)


def by_kind(encoder, *rows, limit=0):
    return {one.kind: one for one in lint(encoder, rows, limit)}


def test_whole_words_that_are_known_have_nothing_to_tell(encoder):
    assert lint(encoder, [example("e", "bird", "tree", "it has wings . it flies .")]) == []


def test_a_boundary_whose_tokens_merge_is_named_with_both_readings(merging):
    found = by_kind(Encoder(merging, TEMPLATE), row("pond", "red"), row("pond", "red", question="is it"))
    merged = found["boundary:question|choices"]
    assert (merged.count, merged.of, merged.grave) == (1, 2, False) and "question and choices" in merged.message
    assert merged.shown == ("|t|?⏎|o| instead of |t|?|⏎|",)


@pytest.mark.parametrize("front", [False, True])
def test_a_row_is_too_long_where_its_longest_sequence_is(merging, front):
    if front:
        tokenizer = Tokenizer.from_file(str(merging))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<eos> $A", special_tokens=[("<eos>", tokenizer.token_to_id("<eos>"))]
        )
        tokenizer.save(str(merging))
        merging.with_name("tokenizer_config.json").write_text('{"bos_token": "<eos>", "eos_token": "<eos>"}')
    encoder, one = Encoder(merging, TEMPLATE), row("pond", "red", rationale="fish.")
    (read,) = encoder.sequences(encoder.corpus([one]), 0, parse("post_cot"), 0)
    assert (int(read.ids[0]) == encoder.specials.eos) == front
    assert (
        "too_long" not in by_kind(encoder, one, limit=len(read))
        and by_kind(encoder, one, limit=len(read) - 1)["too_long"].count == 1
    )


def test_a_cue_that_merges_with_the_answer_is_grave(tmp_path):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("A", "Ġ"), ("Ġ", "p")]
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate([*alphabet, "AĠ", "Ġp"])}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<eos>")])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    first = lint(Encoder(tmp_path / "tokenizer.json", TEMPLATE), [row("pond", "red")])[0]
    assert first.kind == "boundary:label_cue|label" and first.grave and first.shown == ("|⏎|A |p| instead of |⏎|A| p|",)
    assert first.line().startswith(
        "Between answer cue and answer the tokens change when both are read as one text (1 of 1 rows, e.g. "
    )


def test_answers_of_several_tokens_and_of_other_tokens_apart_are_told(merging):
    found = by_kind(Encoder(merging, TEMPLATE), row("pond", "red pond"))
    assert (found["several_tokens"].count, found["several_tokens"].of) == (1, 2) and found["several_tokens"].shown == (
        "| red| pond|",
    )
    assert found["naive"].count == 2 and found["naive"].shown[0] == "| pond|, apart |p|o|n|d|"
    assert "listed" not in found
    glued = by_kind(Encoder(merging, replace(TEMPLATE, choice="({label}){text}")), row("pond", "red"))
    assert glued["listed"].count == 1 and glued["listed"].shown[0].startswith("| pond| in |⏎|o|f| |(|A|)|p|o|n|d|")


def test_choices_of_one_question_are_held_against_each_other(merging):
    encoder = Encoder(merging, TEMPLATE)
    found = by_kind(encoder, row("red", "red", "pond"), row("red", "red pond"), row("red", "pond"))
    assert (found["same"].count, found["same"].of, found["same"].grave) == (1, 3, True) and found["same"].shown == (
        "'red' and 'red'",
    )
    assert (
        found["prefix"].count == 1
        and found["prefix"].grave
        and "terminator=on" in found["prefix"].advice
        and found["first_token"].shown == ("| red| and | red| pond|",)
    )
    lettered = by_kind(
        Encoder(merging, replace(TEMPLATE, target="letter", choice=" {label} {text}")), row("red", "pond")
    )
    assert "prefix" not in lettered and lettered["naive"].of == 2


def test_unknown_words_are_grave_in_answers_and_told_elsewhere(encoder):
    rows = [
        example("e1", "walrus", "tree", None),
        replace(example("e2", "bird", "tree", None), choices=(Choice("A", "igloo"), Choice("B", "tree"))),
    ]
    found = by_kind(encoder, *rows)
    assert found["unknown_answer"].grave and found["unknown_answer"].shown == ("'igloo'",)
    assert found["unknown"].count == 2 and found["unknown"].shown[0] == "'walrus'"


def test_a_student_reads_as_many_tokens_as_its_files_say(tmp_path):
    assert limit_of(StudentConfig(name="nano")) == 512 and limit_of(StudentConfig(name="nobody/nothing")) == 0
    for told, tokens in (({"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 77, "vocab_size": 9}, 77), ({}, 0)):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **told}))
        assert limit_of(StudentConfig(name=str(tmp_path))) == tokens


def test_characters_in_pieces_long_rows_and_doubled_spaces(merging):
    encoder = Encoder(merging, replace(TEMPLATE, label_cue="\nA: "))
    found = by_kind(encoder, row("pond", "red", rationale="Zoë"), row("pond", "red", question="x" * 40), limit=45)
    assert found["bytes"].shown == ("'ë'",) and found["bytes"].count == 1
    assert found["too_long"].grave and found["too_long"].count == 1 and found["space"].shown == ("answer cue '\\nA: '",)


def test_a_naive_target_is_a_condition_of_its_own(merging):
    encoder = Encoder(merging, TEMPLATE)
    corpus = encoder.corpus([row("pond", "red", rationale="red")])
    usual, naive = (encoder.sequences(corpus, 0, parse(text), 0)[0] for text in ("post_cot", "post_cot@target=naive"))
    label = [encoder.piece(int(i)) for i, loss in zip(naive.ids, naive.loss, strict=True) if loss == 1]
    assert label == ["p", "o", "n", "d"] and len(naive) == len(usual) + 3
    # What the run is scored by reads as it was trained; how it is judged stays.
    scored = Encoder(merging, TEMPLATE, naive=True)
    assert [scored.piece(i) for i in scored.targets(row("pond", "red"))[0]] == label
    assert primary_metric(scored, [row("pond", "red")]) == primary_metric(encoder, [row("pond", "red")]) == "sum"


def test_a_naive_target_changes_neither_the_order_of_examples_nor_what_another_budget_counts(merging):
    # " pond" is one token and four apart, "zz" three and two: sorted by their length the rows would stand otherwise.
    rows = [
        row(*(("pond", "red") if i % 2 else ("zz", "red")), question="x" * (i % 4), rationale="red", id=f"e{i}")
        for i in range(64)
    ]

    def prepared(text):
        run = RunConfig(
            "t", "0" * 64, text, source="s", sources=("s",), training=TrainingConfig(steps=16, batch_size=4)
        )
        # The encoder that a run's own condition makes.
        return prepare(Encoder(merging, TEMPLATE, naive=parse(text).naive), {"s": rows}, run, 256)

    usual, naive = (prepared(text) for text in ("label_only", "label_only@target=naive"))
    assert [naive.stream.step(step) for step in range(16)] == [usual.stream.step(step) for step in range(16)]
    assert len(naive.training_set.rows(1, 0)[0].ids) == len(usual.training_set.rows(1, 0)[0].ids) + 3
    post = prepared("post_cot")
    seen = [
        [len(one.ids) for i, epoch in post.stream.step(step) for one in post.training_set.rows(i, epoch)]
        for step in range(16)
    ]
    budget = prepared("label_only@tokens=post_cot,target=naive")
    steps = [
        sum(len(one.ids) for i, epoch in budget.stream.step(step) for one in budget.training_set.rows(i, epoch))
        for step in range(budget.steps)
    ]
    assert sum(steps) >= sum(map(sum, seen)) > sum(steps[:-1])


def test_the_option_is_canonical_and_told():
    assert str(parse("post_cot@target=naive,source=mixed")) == "post_cot@source=mixed,target=naive"
    assert (
        str(parse("post_cot@target=consistent")) == "post_cot"
        and parse("label_only@target=naive").label == "label only, naive target"
    )
    assert [str(c) for c in parse_list("label_only@tokens=post_cot,target=naive,pre_cot")] == [
        "label_only@tokens=post_cot,target=naive",
        "pre_cot",
    ]
    for wrong in ("post_cot@target=apart", "undistilled@target=naive"):
        with pytest.raises(GrammarError):
            parse(wrong)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A store with a task in which every third question has one choice twice."""
    rows = [
        {
            "question": f"what is {i} ?",
            "choices": [{"label": "A", "text": "odd"}, {"label": "B", "text": "odd" if i % 3 == 0 else "even"}],
            "answer": "A",
        }
        for i in range(60)
    ]
    source = tmp_path / "parity.jsonl"
    source.write_text("".join(json.dumps({"id": str(i), **row}) + "\n" for i, row in enumerate(rows)))
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "home"))
    store = Store.open()
    import_task(store.tasks_root, source, "parity")
    return store


def test_the_terminal_lints_a_task(home, capsys):
    say = speaker(capsys)
    said = say("lint --task parity --tokenizer bpe --rows 30 --json")
    check_keys("lint", said.document)
    first = said.document["findings"][0]
    assert first["kind"] == "same" and first["grave"] and said.document["rows"] == first["of"] == 30
    told = say("lint --task parity --tokenizer word --limit 3").out
    assert "longer than the 3 tokens" in told and "the naive target" not in told


def test_what_is_grave_stands_among_the_checks_of_a_plan(home):
    spec = {
        "name": "p",
        "task": "parity",
        "conditions": "label_only,label_only@target=naive",
        "replicates": 3,
        "base_steps": 0,
    }
    by = {kind: plan(home, study_spec(None, {**spec, "tokenizer": kind})).checks for kind in ("word", "bpe")}
    for checks in by.values():
        assert sum("no student can tell them apart (" in check for check in checks) == 1
    # Whole words are the same wherever they stand.
    told = {
        kind: any("reads every sampled answer the same either way" in check for check in checks)
        for kind, checks in by.items()
    }
    assert told == {"word": True, "bpe": False}


def test_characters_of_several_tokens_are_decoded_together_in_what_a_student_wrote(merging):
    encoder = Encoder(merging, TEMPLATE)
    # Every byte is a token here: each curly quote is three, the emoji four.
    text = "\u201cred\u201d isn\u2019t \U0001f389."
    ids = [token.id for token in encoder.read(text)]
    assert len(ids) > len(text) and any(encoder.piece(id) == "\ufffd" for id in ids)
    assert encoder.written_text(ids).strip() == text
    written, read = encoder.passage(ids), encoder.read(text)
    assert [(token.id, token.word, token.text) for token in written] == [(t.id, t.word, t.text) for t in read]
    # The first two bytes of a quote alone spell nothing, and take no neighbour with them.
    quote = [token.id for token in encoder.read("\u201d")][-3:]
    red = [token.id for token in encoder.read("red")]
    assert encoder.written_text([*quote[:2], *red]) == "\ufffd\ufffd red"


def test_a_plan_says_which_arms_are_mostly_the_intact_rationale(tmp_path):
    """Of one-sentence rationales a shuffle of sentences changes none; a shuffle of tokens changes nearly all."""
    rows = [
        {"id": str(i), "question": f"is {i} odd ?", "choices": ["no", "yes"], "answer": ["no", "yes"][i % 2]}
        | {"rationale": f"the number {i} is halved and leaves {i % 2}"}
        for i in range(60)
    ]
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = Store.open(tmp_path / "store")
    import_task(store.tasks_root, path, "one")
    arms = "post_cot,post_cot/shuffle(unit=sentence),post_cot/shuffle(unit=token)"
    spec = {"name": "p", "task": "one", "conditions": f"label_only,{arms}", "replicates": 3, "tokenizer": "word"}
    (told,) = [check for check in plan(store, study_spec(None, spec)).checks if "left as they are" in check]
    count = int(told.removeprefix("post-CoT, sentences shuffled: ").split()[0])
    assert count > 0 and told.startswith(f"post-CoT, sentences shuffled: {count} of {count} sampled rationales")
