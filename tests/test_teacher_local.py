"""A local teacher: what it writes is what its logits say, batched or alone, drawn at random or held against another answer."""

import json
import math
import shutil

import pytest
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import Split
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from cotdistill.errors import TeacherError
from cotdistill.execution.worker import work
from cotdistill.planning import elicitation
from cotdistill.store.store import Store
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.template import Template
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.elicitation import Contrast, ElicitConfig, Request, Sampling, TeacherConfig
from cotdistill.teachers.local import LocalTeacher, ask_local, contrasted, likely
from cotdistill.teachers.prompts import PromptTemplate
from cotdistill.teachers.responses import Responses
from cotdistill.teachers.sources import CUT_OFF, add

WORDS = "<pad> <end> <unk> question : what is ? choices ( A B ) even odd the answer it . so two by number right why | 1 2 3 4 5".split(
    " "
)
TERSE = PromptTemplate(
    system="", question="question : {question} choices {choices}", choice="( {label} ) {text}", between=" ", given=" answer ( {label} )",
    ask=" why ?", ask_given=" why {label} ?", reply="{rationale} ( {label} )", separator=" | ",
)  # fmt: skip
CHOICES = (Choice("A", "even"), Choice("B", "odd"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny causal LM with sharp, random opinions, written by save_pretrained."""
    path = tmp_path_factory.mktemp("teacher")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>", pad_token="<pad>"
    ).save_pretrained(path)
    torch.manual_seed(3)
    small = {
        "n_positions": 96,
        "n_embd": 24,
        "n_layer": 2,
        "n_head": 2,
        "bos_token_id": None,
        "eos_token_id": 1,
        "tie_word_embeddings": False,
    }
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), **small))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(40 if "lm_head" in name else 12)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def teacher(folder):
    return LocalTeacher(TeacherConfig(kind="local", model=str(folder)))


def test_a_local_teacher_reads_by_the_same_file_as_a_student_whatever_the_folder_calls_its_tokenizer(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "llama")
    vocabulary = {piece: i for i, piece in enumerate(["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab"])}
    tokenizer = Tokenizer(BPE(vocabulary, [("a", "b"), ("▁", "ab")], unk_token="<unk>"))
    # Unlike Llama's own, this one puts no space in front of a text.
    tokenizer.normalizer = Replace(" ", "▁")
    tokenizer.save(str(tmp_path / "llama" / "tokenizer.json"))
    names = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "llama" / "tokenizer_config.json").write_text(json.dumps(names))
    read = LocalTeacher(TeacherConfig(kind="local", model=str(tmp_path / "llama"))).tokenizer("ab ab")["input_ids"]
    student = Encoder(tmp_path / "llama" / "tokenizer.json", Template())
    assert read == student.tokenizer.encode("ab ab").ids == [6, 7]


def test_a_local_teacher_without_tokenizer_json_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "slow")
    (tmp_path / "slow" / "tokenizer.json").unlink()
    with pytest.raises(TeacherError, match="tokenizer"):
        LocalTeacher(TeacherConfig(kind="local", model=str(tmp_path / "slow")))


def prompts(teacher):
    texts = [
        "question : what is 1 ?",
        "what is the answer ?",
        "question : what is 2 ? choices ( A ) even ( B ) odd",
        "so",
    ]
    return [[int(i) for i in teacher.tokenizer(text)["input_ids"]] for text in texts]


def alone(teacher, ids):
    """(vocabulary,) logits of the next token, without cache or padding."""
    with torch.no_grad():
        return teacher.model(input_ids=torch.tensor([ids])).logits[0, -1].float()


def reference(teacher, ids, limit, pick):
    """Token by token, one prompt alone, no cache."""
    written = []
    while len(written) < limit:
        chosen = int(pick(written).argmax())
        if chosen == 1:
            return written, "stop"
        written.append(chosen)
    return written, "length"


def test_greedy_answers_are_those_of_each_prompt_alone(teacher):
    given = prompts(teacher)
    found = teacher.write(given, Sampling(max_tokens=20), [0] * 4, ())
    for ids, one in zip(given, found, strict=True):
        written, finish = reference(teacher, ids, 20, lambda more, ids=ids: alone(teacher, ids + more))
        assert (one.text, one.finish) == (teacher.tokenizer.decode(written, skip_special_tokens=True), finish)
    # They say something: not one word over and over.
    assert len({one.text for one in found}) > 1 and all(
        len(set(one.text.split())) > 3 for one in found if one.finish == "length"
    )


def test_greedy_agrees_with_what_the_library_generates(teacher):
    ids = prompts(teacher)[2]
    theirs = teacher.model.generate(
        torch.tensor([ids]), max_new_tokens=15, do_sample=False, pad_token_id=0, attention_mask=torch.ones(1, len(ids))
    )
    (ours,) = teacher.write([ids], Sampling(max_tokens=15), [0], ())
    assert ours.text == teacher.tokenizer.decode(theirs[0, len(ids) :], skip_special_tokens=True)


def test_what_is_drawn_depends_on_the_seed_and_not_on_the_batch(teacher):
    given, sampling = prompts(teacher), Sampling(max_tokens=12, temperature=1.5)
    together = teacher.write(given, sampling, [1, 2, 3, 4], ())
    apart = [teacher.write([ids], sampling, [seed], ())[0] for ids, seed in zip(given, (1, 2, 3, 4), strict=True)]
    assert together == apart
    assert teacher.write(given, sampling, [5, 6, 7, 8], ()) != together


def test_draws_follow_the_probabilities(teacher):
    (ids, *_) = prompts(teacher)
    expected = torch.softmax(alone(teacher, ids) / 2.0, -1)
    number = 2000
    written = teacher.write([ids] * number, Sampling(max_tokens=1, temperature=2.0), list(range(number)), ())
    counts = torch.zeros(len(WORDS))
    for one in written:
        counts[teacher.tokenizer.convert_tokens_to_ids(one.text) if one.text else 1] += 1
    # Tokens that are left out of the text (pad, end, unknown) are one heap.
    special = [0, 1, 2]
    expected[1], counts[1] = expected[special].sum(), counts[special].sum()
    expected[[0, 2]] = counts[[0, 2]] = 0
    deviation = (counts / number - expected).abs() / torch.sqrt(expected * (1 - expected) / number).clamp(min=1e-9)
    assert float(deviation[expected > 0.005].max()) < 4.5


def test_the_likeliest_tokens_that_make_up_the_share_stay():
    odds = torch.tensor([[0.5, 0.2, 0.2, 0.1], [0.1, 0.1, 0.1, 0.7]])
    assert likely(odds, 1.0) is odds
    assert torch.equal(likely(odds, 0.6) > 0, torch.tensor([[True, True, False, False], [False, False, False, True]]))
    assert float(likely(odds, 0.01)[0].sum()) == pytest.approx(0.5)


def test_a_stop_text_ends_an_answer_and_is_left_out(teacher):
    ids = prompts(teacher)[0]
    (free,) = teacher.write([ids], Sampling(max_tokens=30), [0], ())
    words = free.text.split(" ")
    stop = words[3]
    (cut,) = teacher.write([ids], Sampling(max_tokens=30), [0], (stop,))
    assert cut.finish == "stop" and cut.text == free.text[: free.text.index(stop)] and cut.tokens <= 4


def test_contrasted_scores_are_those_of_the_formula():
    shown, other = torch.tensor([[0.6, 0.3, 0.1]]).log(), torch.tensor([[0.7, 0.1, 0.2]]).log()
    expected = [
        [math.log(0.6) - 0.5 * math.log(0.7), math.log(0.3) - 0.5 * math.log(0.1), math.log(0.1) - 0.5 * math.log(0.2)]
    ]
    assert torch.allclose(contrasted(shown, other, 0.5, 0.0), torch.tensor(expected), atol=1e-6)
    # -.33, -.05, -1.50: the second wins, though the first is likelier; at weight 0 the first does.
    assert (
        int(contrasted(shown, other, 0.5, 0.0).argmax()) == 1 and int(contrasted(shown, other, 0.0, 0.0).argmax()) == 0
    )
    # .1 / .6 is below .4, .3 / .6 is not.
    assert torch.isinf(contrasted(shown, other, 0.5, 0.4)).tolist() == [[False, False, True]]
    assert int(contrasted(shown, other, 2.0, 1.0).argmax()) == 0
    # A shift of all logits changes nothing.
    assert torch.allclose(contrasted(shown + 3, other - 2, 0.5, 0.0), contrasted(shown, other, 0.5, 0.0), atol=1e-6)


@pytest.mark.parametrize(("weight", "plausible"), [(0.5, 0.0), (0.5, 0.1), (1.0, 0.02)])
def test_contrastive_answers_are_those_of_each_pair_alone(teacher, weight, plausible):
    given = prompts(teacher)
    others = [given[3], given[2], given[1], given[0]]
    found = teacher.write_against(given, others, Contrast("wrong", weight, plausible), 15, ())
    for ids, rival, one in zip(given, others, found, strict=True):

        def pick(more, ids=ids, rival=rival):
            return contrasted(alone(teacher, ids + more)[None], alone(teacher, rival + more)[None], weight, plausible)[
                0
            ]

        written, finish = reference(teacher, ids, 15, pick)
        assert (one.text, one.finish) == (teacher.tokenizer.decode(written, skip_special_tokens=True), finish)
    assert [one.text for one in found] != [
        one.text for one in teacher.write(given, Sampling(max_tokens=15), [0] * 4, ())
    ]


def test_against_itself_at_any_weight_below_one_the_best_token_stays_the_best(teacher):
    given = prompts(teacher)
    same = teacher.write_against(given, given, Contrast("empty", 0.9, 0.0), 10, ())
    assert [one.text for one in same] == [
        one.text for one in teacher.write(given, Sampling(max_tokens=10), [0] * 4, ())
    ]


def request(i, turns, against=None):
    return Request(i, Example(f"q{i}", "?", CHOICES, "A", "train"), 0, "A", turns, against, f"key{i}")


def test_a_prompt_that_is_too_long_fails_alone_and_stopping_is_noticed_at_every_token(teacher, folder):
    wanted = ElicitConfig(
        "t", "0", "n", TeacherConfig(kind="local", model=str(folder)), template=TERSE, sampling=Sampling(max_tokens=10)
    )
    turns = [[{"role": "user", "content": "what is " * n}] for n in (2, 60, 3)]
    answers, failures, ticks = [], [], []
    asked = [request(i, t) for i, t in enumerate(turns)]
    ask_local(
        wanted, asked, Pace(concurrency=2), lambda a, f: (answers.extend(a), failures.extend(f)), ticks.append, teacher
    )
    assert sorted(a.key for a in answers) == ["key0", "key2"] and [(f.place, f.cause) for f in failures] == [
        (1, "request")
    ]
    assert "longer than the 96" in failures[0].detail and len(ticks) >= 10
    assert answers[0].prompt_tokens in (4, 6) and all(a.completion_tokens >= 1 for a in answers)

    def stop(wait):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_local(wanted, asked, Pace(), lambda a, f: None, stop, teacher)


def test_a_chat_template_is_used_where_there_is_one(teacher, folder, tmp_path):
    config = ElicitConfig("t", "0", "n", TeacherConfig(kind="local", model="x"), template=TERSE)
    turns = [{"role": "system", "content": "the"}, {"role": "user", "content": "what"}]
    assert not teacher.chat and teacher.stops(config) == (" | ",)
    assert teacher.tokenizer.decode(teacher.ids(config, turns)) == "the | what"
    chatty = PreTrainedTokenizerFast.from_pretrained(folder)
    chatty.chat_template = (
        "{% for m in messages %}{{ m['role'] == 'user' and '?' or ':' }} {{ m['content'] }} {% endfor %}so"
    )
    chatty.save_pretrained(tmp_path)
    teacher.model.save_pretrained(tmp_path)
    talking = LocalTeacher(TeacherConfig(kind="local", model=str(tmp_path)))
    # A template that knows no system turn has it in front of the first question.
    assert (
        talking.chat
        and talking.stops(config) == ()
        and talking.tokenizer.decode(talking.ids(config, turns)) == "? the what so"
    )
    assert not LocalTeacher(TeacherConfig(kind="local", model=str(tmp_path), chat="off")).chat
    with pytest.raises(TeacherError, match="no chat template"):
        LocalTeacher(TeacherConfig(kind="local", model=str(folder), chat="on"))


def test_a_folder_without_a_model_is_told_in_words(tmp_path):
    with pytest.raises(TeacherError, match="cannot be loaded"):
        LocalTeacher(TeacherConfig(kind="local", model=str(tmp_path)))


@pytest.fixture
def store(tmp_path, monkeypatch):
    rows = [
        {"id": f"q{i}", "question": f"what is {i % 5 + 1}", "choices": [{"label": "A", "text": "even"}, {"label": "B", "text": "odd"}],
         "answer": "AB"[i % 2], "rationale": "so it is", "rationale_source": "people"}
        for i in range(40)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("cotdistill.execution.worker.IDLE_SECONDS", 0.0)
    store = Store.open(tmp_path / "home")
    import_task(store.tasks_root, tmp_path / "rows.jsonl", "numbers")
    return store


@pytest.mark.parametrize(
    "contrast", [Contrast(), Contrast("empty", 0.5), Contrast("wrong", 0.7, 0.0)], ids=lambda c: c.against
)
def test_a_job_asks_a_local_teacher_and_equal_questions_once(store, folder, contrast):
    task = open_task(store.tasks_root, "numbers")
    teacher = TeacherConfig(kind="local", model=str(folder))
    wanted = ElicitConfig(
        "numbers",
        task.digest,
        "small",
        teacher,
        template=TERSE,
        sampling=Sampling(max_tokens=12),
        contrast=contrast,
        part="all",
    )
    job = elicitation.submit(store, wanted, Pace(concurrency=16))
    work(store)
    done = store.queue.job(job.id)
    assert done.state == "finished", done.error
    rows = task.examples("train")
    kinds = {(e.question, e.answer) for e in rows}
    # What is the same is asked once, and answers every row that it is about.
    assert done.result["requests"] == len(kinds) < len(rows) and Responses(store.home).count(
        job.identity
    ).answered == len(rows)
    # All are cut off at their twelfth token: no source of them by itself, but by a person's wish.
    assert done.result["source"] is None and done.result["left_out"] == {CUT_OFF: len(rows)}
    source = add(task, "small", elicitation.answers(store, done), origin={})
    again = open_task(store.tasks_root, "numbers")
    texts = {(e.question, e.answer): e.rationale for e in again.examples("train", source)}
    assert len(set(texts.values())) > 1 and all(texts.values())
    assert again.teacher_labels(source).keys() == {e.id for e in rows}


def test_counterfactual_rationales_are_told_by_the_label_that_was_shown(store, folder):
    task = open_task(store.tasks_root, "numbers")
    teacher = TeacherConfig(kind="local", model=str(folder))
    wanted = ElicitConfig(
        "numbers",
        task.digest,
        "against",
        teacher,
        template=TERSE,
        sampling=Sampling(max_tokens=5),
        given="wrong",
        part="all",
    )
    job = elicitation.submit(store, wanted, Pace(concurrency=16))
    work(store)
    source = add(task, "against", elicitation.answers(store, store.queue.job(job.id)), origin={})
    labels = open_task(store.tasks_root, "numbers").teacher_labels(source)
    answers = {e.id: e.answer for e in task.examples("train")}
    given = {row["id"]: row["given"] for row in Responses(store.home).answers(job.identity)}
    assert all(given[id] != answers[id] for id in answers)
    assert sum(labels[id] == given[id] for id in labels) > 0.5 * len(labels)
