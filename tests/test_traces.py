"""Traces: thoughts and answers apart, line breaks as tokens, units that move whole, several rationales, views of a source."""

import json
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from cotdistill.errors import GrammarError
from cotdistill.rationales.conditions import parse, parse_list
from cotdistill.rationales.passage import joined, units
from cotdistill.rationales.transforms import Draw
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.describe import export_task
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.cells import at
from cotdistill.tasks.importing.columns import guess_columns
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.importing.traces import kept_traces
from cotdistill.tasks.task import Rationale
from cotdistill.tasks.template import Template
from cotdistill.tasks.views import read_view

CHOICES = (Choice("A", "red"), Choice("B", "blue"))
KEPT = Template(white_space="kept")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Every character is a token, so that a text can be read back exactly."""
    folder = tmp_path_factory.mktemp("characters")
    alphabet = ["<pad>", "<eos>", "<unk>", "_", *pre_tokenizers.ByteLevel.alphabet()]
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def text_of(encoder, passage):
    return "".join(encoder.piece(token.id) for token in passage)


def rewritten(encoder, condition, text, seed=0, others=()):
    examples = [
        Example(f"e{i}", "?", CHOICES, "A", "train", rationale=rationale) for i, rationale in enumerate([text, *others])
    ]
    corpus = encoder.corpus(examples)
    return parse(condition).rewrite(corpus.passages[0], Draw.of(corpus, 0, seed))


def write(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_line_breaks_are_tokens_where_white_space_is_kept_and_blanks_where_it_is_folded(tokenizer):
    text = "a b.\n\nc  d"
    assert text_of(Encoder(tokenizer, KEPT), Encoder(tokenizer, KEPT).read(text)) == " a b.\n\nc  d"
    assert text_of(Encoder(tokenizer, Template()), Encoder(tokenizer, Template()).read(text)) == " a b. c d"


def test_lines_sentences_and_steps_are_cut_without_a_change_of_the_text(tokenizer):
    encoder = Encoder(tokenizer, KEPT)
    passage = encoder.read("one. two\nthree.\n\nfour")
    cut = {unit: [text_of(encoder, part) for part in units(passage, unit)] for unit in ("sentence", "line", "step")}
    assert cut["sentence"] == [" one.", " two", "three.", "four"]
    assert cut["line"] == cut["step"] == [" one. two", "three.", "four"]
    assert all(joined(units(passage, unit)) == passage for unit in ("token", "word", "sentence", "line", "step"))
    flat = encoder.read("one. two. three")
    assert [text_of(encoder, part) for part in units(flat, "step")] == [" one.", " two.", " three"]


def test_moved_lines_leave_the_line_breaks_where_they_were_and_dropped_ones_take_theirs_along(tokenizer):
    encoder = Encoder(tokenizer, KEPT)
    passage = encoder.read("a\nb\n\nc")
    parts = units(passage, "line")
    assert text_of(encoder, joined([parts[2], parts[0], parts[1]])) == "c\n a\n\nb"
    assert text_of(encoder, joined([parts[0], parts[2]])) == " a\nc"
    assert text_of(encoder, joined([parts[2], parts[1]])) == "c\n\nb"


def test_a_pattern_says_where_a_step_begins(tokenizer):
    encoder = Encoder(tokenizer, Template(white_space="kept", step=r"Step \d+:"))
    passage = encoder.read("Step 1: a\nb Step 2: c. d\nStep 3: e")
    assert [text_of(encoder, part).strip() for part in units(passage, "step")] == [
        "Step 1: a\nb", "Step 2: c. d", "Step 3: e",
    ]  # fmt: skip
    assert [text_of(encoder, part) for part in units(encoder.read("x.\ny. z"), "step")] == [" x.", "y. z"]


def test_thoughts_and_answers_are_kept_apart_and_the_template_says_which_is_read():
    rows = [Rationale("1", "r", "<think>\nit is so\n</think>\n\nThe answer is A."), Rationale("2", "r", "plain")]
    warnings = []
    kept, template = kept_traces(rows, Template(), warnings)
    assert (kept[0].text, kept[0].thinking, kept[0].answer) == ("The answer is A.", "it is so", "The answer is A.")
    assert kept[1] == rows[1] and template == Template() and "r (1)" in warnings[0]
    assert [kept[0].part(part) for part in ("thinking", "answer", "both")] == [
        "it is so", "The answer is A.", "it is so\n\nThe answer is A.",
    ]  # fmt: skip
    assert kept[1].part("thinking") is None and kept[1].part("both") == "plain"
    chat = Template(label_cue="<|a|>\n", rationale_cue="<|a|>\n<think>\n")
    kept, template = kept_traces(rows, chat, [])
    assert kept[0].text == "it is so" and template.rationale_end == "\n</think>\n\n"


def test_open_marks_long_traces_and_a_pattern_without_a_match_are_told_and_nothing_is_lost():
    warnings = []
    kept, template = kept_traces(
        [Rationale("1", "r", "<think>cut"), Rationale("2", "r", "x\n" * 50_000)], Template(step="Z"), warnings
    )
    assert kept[0].thinking == kept[0].text == "cut" and kept[1].text == "x\n" * 50_000
    assert template.white_space == "kept"
    assert "1 rationale open a thought" in " ".join(warnings) and "100,000" in " ".join(warnings)
    assert "matches nothing" in warnings[-1]


def test_the_last_turns_of_a_conversation_are_read_and_others_by_choice():
    row = {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": [{"type": "text", "text": "second"}]},
            {"role": "assistant", "content": "two", "reasoning_content": "hm"},
        ],
        "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
    }
    assert at(row, "messages.user") == "second" and at(row, "messages.user.0") == "first"
    assert at(row, "messages.assistant") == "<think>\nhm\n</think>\ntwo" and at(row, "messages.assistant.0") == "one"
    assert at(row, "conversations.user") == "q" and at(row, "conversations.assistant.3") is None
    guess = guess_columns(["conversations", "answer"], [{**row, "answer": "A"}])
    assert (guess.question, guess.rationale) == ("conversations.user", "conversations.assistant")
    listed = guess_columns(["question", "generations"], [{"question": "?", "generations": ["a", "b"]}])
    assert listed.rationale == "generations[]" and listed.listed_rationales() == {"generations"}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    rows = [
        {
            "id": f"q{i}", "question": f"question {i}", "choices": ["red", "blue"], "answer": "AB"[i % 2],
            "rationale": [f"<think>\nfirst {i}\nthen\n</think>\nso {i}", f"other {i}"],
        }
        for i in range(20)
    ]  # fmt: skip
    report = import_task(folder / "tasks", write(folder, rows), "t", changes={"rationale": "rationale[]:r"})
    return report.task


def test_views_read_parts_and_several_rationales(task):
    first = {view: task.examples("train", view)[0] for view in ("r", "r[part=thinking]", "r[rationales=2]")}
    number = first["r"].id[1:]
    assert (first["r"].rationale, first["r"].more) == (f"so {number}", ())
    assert first["r[part=thinking]"].rationale == f"first {number}\nthen"
    assert first["r[rationales=2]"].more == (f"other {number}",)


def test_an_export_can_be_imported_with_all_parts(task, tmp_path):
    export_task(task, tmp_path / "out")
    again = import_task(tmp_path / "tasks", tmp_path / "out", "t", template=task.template).task
    assert again.traces("r") == task.traces("r")


def test_a_mix_draws_the_source_by_the_question_and_the_teachers_label_is_for_training_alone(tmp_path):
    rows = [
        {"id": f"q{i}", "question": f"q {i}", "choices": ["red", "blue"], "answer": "A", "a": f"a {i}", "b": f"b {i}"}
        for i in range(100)
    ]
    source = write(tmp_path, rows)
    task = import_task(tmp_path / "tasks", source, "m", changes={"rationale": "a+b"}).task
    mixed = task.examples("train", "a:0.2,b:0.8")
    shares = sum(e.source == "a" for e in mixed) / len(mixed)
    assert 0.1 < shares < 0.3 and all(e.rationale.startswith(e.source) for e in mixed)
    assert mixed == task.examples("train", "a:0.2,b:0.8")

    from cotdistill.tasks.added import add_source, reopened

    ids = [e.id for e in task.examples("train")][:2]
    name = add_source(task, "t", [Rationale(ids[0], "", "x", "B"), Rationale(ids[1], "", "y", None)], {})
    read = {e.id: e for e in reopened(task).examples("train", f"{name}[target=teacher]")}
    assert (read[ids[0]].answer, read[ids[0]].rationale) == ("B", "x")
    assert (read[ids[1]].answer, read[ids[1]].rationale) == ("A", None)


def test_rows_that_repeat_a_question_are_further_rationales_of_it(tmp_path):
    row = {"id": "q", "question": "?", "choices": ["red", "blue"], "answer": "A"}
    rows = [{**row, "id": f"q{i // 2}", "question": f"? {i // 2}", "rationale": f"r {i}"} for i in range(40)]
    report = import_task(tmp_path / "tasks", write(tmp_path, rows), "t")
    examples = report.task.examples("train", "rationale[rationales=9]")
    assert {e.id: (e.rationale, *e.more) for e in examples}[examples[0].id] == tuple(
        f"r {2 * int(examples[0].id[1:]) + k}" for k in (0, 1)
    )
    assert "20 rows repeat an earlier question" in " ".join(report.warnings)


def test_the_options_of_a_condition_have_one_canonical_text():
    text = "post_cot@source=a,part=thinking,rationales=4"
    assert str(parse("post_cot@rationales=4,part=thinking,source=a")) == text
    assert parse(text).reads("s") == "a[part=thinking,rationales=4]" and parse("post_cot").reads("s") == "s"
    mix = parse("post_cot@mix=a:0.2,b:0.8,fraction=0.5")
    assert str(mix) == "post_cot@fraction=0.5,mix=(a:0.2,b:0.8)" and str(parse(str(mix))) == str(mix)
    assert read_view(mix.reads("s")).sources == (("a", 0.2), ("b", 0.8))
    assert [str(c) for c in parse_list("pre_cot@mix=a:0.5,b:0.5,label_only@target=teacher")] == [
        "pre_cot@mix=(a:0.5,b:0.5)", "label_only@target=teacher",
    ]  # fmt: skip
    assert parse("label_only@target=teacher").reads("s") == "s[target=teacher]"
    assert replace(parse("post_cot"), part="both").label == "post-CoT, thinking and answer"


@pytest.mark.parametrize(
    "text",
    [
        "post_cot@part=middle", "label_only@part=thinking", "post_cot@rationales=0", "post_cot@mix=a:0.2,b:0.2",
        "post_cot@mix=a:1", "post_cot@source=c,mix=(a:0.5,b:0.5)", "undistilled@target=teacher",
        "pre_cot+self_generated@rationales=2", "post_cot/key_tokens@rationales=2",
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused_in_words(text):
    with pytest.raises(GrammarError):
        parse(text)


def test_numbers_become_integers_from_0_to_10_and_everything_else_stays(tokenizer):
    import re

    encoder = Encoder(tokenizer, KEPT)
    text = "48/2 = 24 clips, 1,000 in all.\nThen 3.5"
    whole = text_of(encoder, rewritten(encoder, "post_cot/corrupt_numbers", text))
    assert re.sub(r"\d+", "#", whole) == " #/# = # clips, # in all.\nThen #"
    assert all(0 <= int(number) <= 10 for number in re.findall(r"\d+", whole))
    assert text_of(encoder, rewritten(encoder, "post_cot/corrupt_numbers(share=0.0)", text)) == f" {text}"


def test_inserted_steps_are_other_examples_and_its_own_stay_in_order(tokenizer):
    encoder = Encoder(tokenizer, KEPT)
    whole = rewritten(encoder, "post_cot/insert(fraction=1.0)", "a\nb", others=["x\ny", "x\ny"])
    lines = [line.strip() for line in text_of(encoder, whole).split("\n")]
    assert len(lines) == 4 and [line for line in lines if line in "ab"] == ["a", "b"]
    assert all((token.origin == -1) == (token.piece.strip() in ("x", "y")) for token in whole if not token.gap)


def test_words_that_mark_reasoning_go_and_pause_tokens_stand_at_test_time_too(tokenizer):
    encoder = Encoder(tokenizer, KEPT)
    dropped = rewritten(encoder, "post_cot/drop_words(words=wait|let me think)", "Wait a. Now let me think b")
    assert text_of(encoder, dropped) == " a. Now b"
    paused = rewritten(encoder, "pre_cot/pause(n=3)", "a b")
    assert [token.id for token in paused] == [encoder.symbol_id("_")] * 3 and not any(t.loss for t in paused)
    spec = parse("pre_cot/pause(n=3)").spec
    assert (spec.primary, spec.trained, spec.fixed) == ("given", ("given",), ("_", 3))
    assert parse("post_cot/pause").spec.primary == "direct"


def test_several_rationales_are_read_one_after_the_other(tokenizer):
    from cotdistill.config import RunConfig
    from cotdistill.students.preparation import TrainingSet

    encoder = Encoder(tokenizer, KEPT)
    examples = [
        Example("e", "?", CHOICES, "A", "train", rationale="a", more=("bb", "ccc")),
        Example("f", "?", CHOICES, "A", "train", rationale="d"),
    ]
    condition = parse("post_cot@rationales=3")
    run = RunConfig("t", "", str(condition))
    rows = TrainingSet(encoder, encoder.corpus(examples), condition, run, 10_000)
    first = rows.tokens(0, 0)
    assert [rows.tokens(0, epoch) - first for epoch in range(4)] == [0, 1, 2, 0]
    assert rows.tokens(1, 0) == rows.tokens(1, 5)
