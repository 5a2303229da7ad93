"""The terminal: one JSON document, errors in words, exit codes, and every command that only looks."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cotdistill.cli import NOUNS, contents
from cotdistill.cli.documents import keys_of
from cotdistill.cli.reference import PAGES
from cotdistill.cli.renamed import RENAMED
from cotdistill.store.store import Store
from tests.terminal import Say, check_keys, speaker

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests of this file that only read it, so that the generated task is made once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def in_that_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(home))


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    return speaker(capsys)


# --- the contract -----------------------------------------------------------------------------------------------------------------------------


SLOW = ("torch", "transformers", "streamlit", "pandas", "scipy", "numpy", "pyarrow")


@pytest.mark.parametrize(
    ("line", "slow"),
    [
        ("--help", SLOW),
        ("study --help", SLOW),
        ("runs list", SLOW[:4]),
        ("study list", SLOW[:4]),
        ("queue show", SLOW[:4]),
        ("app stop", SLOW[:4]),
    ],
)
def test_a_command_loads_nothing_slow_that_it_does_not_need(line: str, slow: tuple[str, ...]) -> None:
    code = f"import sys; from cotdistill.cli import main; code = main({line.split()!r}); print(*({set(slow)!r} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == ""


def test_help_lists_every_command_without_loading_one(say: Say) -> None:
    told = say("--help").out
    for noun in NOUNS.values():
        for command in noun:
            assert re.search(rf"^  {command.words} +{re.escape(command.help)}$", told, re.M)
        assert not noun.verbs or all(f"  {command.words} " in say(f"{noun.name} --help").out for command in noun)


def test_what_help_lists_is_what_there_is() -> None:
    assert contents.PATH.read_text(encoding="utf-8") == contents.written(), "make docs writes it again"


@pytest.mark.parametrize("words", [c.words for noun in NOUNS.values() for c in noun])
def test_every_command_has_help_and_a_json_option(words: str, say: Say) -> None:
    said = say(f"{words} --help")
    assert said.code == 0
    assert "--json" in said.out


@pytest.mark.parametrize("page", PAGES)
def test_the_generated_pages_of_the_docs_are_current(page: str) -> None:
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == PAGES[page](), "make docs writes them again"


def test_version_and_an_empty_line(say: Say) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", say("--version").out)
    assert say("").code == 2


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("taks list", "tasks"),
        ("runs lst", "list"),
        ("study plan starter --condtions a", "--conditions"),
        ("tasks show field_gide", "field_guide"),
        ("preview --task field_guide --condition shufled", "shuffled"),
        ("preview --task field_guide --condition post_cot/shufle", "shuffle"),
        ("study plan startr", "starter"),
        ("study plan starter --set training.lrr=1", "training.lr"),
        ("study plan starter --set lr=1", "training.lr"),
        ("study plan starter --student nanno", "nano"),
        ("study plan starter --source mixd", "mixed"),
    ],
)
def test_an_unknown_word_answers_with_the_nearest_and_exit_code_2(line: str, near: str, say: Say) -> None:
    told = say(line)
    assert told.code == 2
    assert told.out == ""
    assert "Traceback" not in told.err
    asked = say(line, "--json")
    assert asked.code == 2
    assert near in asked.error["hint"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "runs",
        "runs show",
        "runs show 999999",
        "runs move 1",
        "runs move 1 --first --last",
        "runs list --state sleeping",
        "runs list extra",
        "study plan",
        "study plan starter --seeds 0",
        "study plan starter --seeds many",
        "study plan starter --set training.lr",
        "study plan starter --set training.lr=fast",
        "study plan starter --set training.steps=-1",
        "study plan starter --conditions ''",
        "study plan starter --conditions 'post_cot/mask(fraction=2)'",
        "study plan nowhere.yaml",
        "study show nothing",
        "compare nothing",
        "compare nothing --margin wide",
        "tasks import /nowhere --name x",
        "tasks import . --name x --columns question",
        "preview --task field_guide --condition post_cot --example nobody",
        "queue workers 0",
        "runs stop 1 2 3",
    ],
)
def test_wrong_words_give_one_error_document_and_exit_code_2(line: str, say: Say) -> None:
    said = say(line, "--json")
    assert said.code == 2, said
    assert said.error["message"]


@pytest.mark.parametrize(("line", "option"), [("--home X tasks list", "--home"), ("--seed=1 3 study run", "--seed")])
def test_an_option_before_the_command_is_named_together_with_the_variable_of_the_folder(
    line: str, option: str, say: Say
) -> None:
    said = say(line)
    assert said.code == 2
    assert f"{option} stands before the command." in said.err and "COTDISTILL_HOME=FOLDER" in said.err


def test_json_is_found_wherever_it_stands(say: Say) -> None:
    assert (
        say("--json students list").document
        == say("students --json list").document
        == say("students list --json").document
    )


def test_what_a_library_prints_does_not_reach_stdout(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    from cotdistill.cli.command import Result
    from cotdistill.cli.commands import students

    def chatty(arguments: Any) -> Result:
        print("loading ...")
        return Result({"a": float("nan"), "b": [1.5]}, "done")

    monkeypatch.setitem(
        NOUNS, "students", students.Noun("students", "", (students.Command("students", "list", "", chatty, {}),))
    )
    said = say("students list --json")
    assert said.document == {"a": None, "b": [1.5]}
    assert "loading" in said.err


def test_a_fault_of_ours_is_told_without_a_traceback_and_with_exit_code_1(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cotdistill.cli.commands import students

    def broken(arguments: Any) -> Any:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setitem(
        NOUNS, "students", students.Noun("students", "", (students.Command("students", "list", "", broken, {}),))
    )
    said = say("students list --json")
    assert said.code == 1
    assert said.error["kind"] == "unexpected"
    assert "ZeroDivisionError" in said.error["message"]
    assert "Traceback" not in say("students list").err


def test_control_characters_of_data_never_reach_the_terminal(say: Say) -> None:
    said = say("tasks show", "\x1b[31mred\x1b[0m")
    assert said.code == 2
    assert "\x1b" not in said.err


# --- commands that only look ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["tasks list", "students list", "conditions list", "study list", "runs list"])
def test_lists_are_arrays_of_documented_objects_with_an_id(words: str, say: Say) -> None:
    said = say(words, "--json")
    assert said.code == 0, said
    assert isinstance(said.document, list)
    check_keys(words, said.document)
    assert all("id" in item for item in said.document)
    assert say(words).code == 0


def test_the_smallest_student_has_the_parameters_counted_by_hand(say: Say) -> None:
    nano = next(s for s in say("students list --json").document if s["id"] == "nano")
    # Two blocks of 12 x 64^2 + 13 x 64; final norm 2 x 64; embeddings in and out 2 x 4096 x 64; 512 positions x 64.
    assert nano["block_parameters"] == 2 * (49152 + 832)
    assert nano["parameters"] == 99968 + 128 + 524288 + 32768


def test_conditions_list_names_parameters_with_bounds_and_presets_with_what_they_stand_for(say: Say) -> None:
    found = {(entry["kind"], entry["id"]): entry for entry in say("conditions list --json").document}
    assert found["preset", "shuffled"]["condition"] == "post_cot/shuffle(unit=token,fraction=1.0)"
    fraction = next(p for p in found["transform", "mask"]["parameters"] if p["name"] == "fraction")
    assert (fraction["low"], fraction["high"], fraction["default"]) == (0.0, 1.0, 0.5)
    assert found["transform", "swap"]["control"]


def test_a_task_is_shown_and_called_artificial(say: Say) -> None:
    said = say("tasks show field_guide --json")
    assert said.code == 0, said
    check_keys("tasks show", said.document)
    assert said.document["id"] == "field_guide"
    assert "artificial" in say("tasks list").out


def test_preview_shows_the_exact_tokens_with_spans_and_loss(say: Say) -> None:
    said = say("preview --task field_guide --condition post_cot --json")
    check_keys("preview", said.document)
    (sequence,) = said.document["sequences"]
    spans = list(dict.fromkeys(token["span"] for token in sequence["tokens"]))
    assert spans == ["question", "choices", "label_cue", "label", "rationale_cue", "rationale", "end"]
    by_span = {span: {t["loss"] for t in sequence["tokens"] if t["span"] == span} for span in spans}
    assert by_span["label"] == {"label"}
    assert by_span["rationale"] == by_span["end"] == {"rationale"}
    assert by_span["question"] == by_span["choices"] == by_span["label_cue"] == {"none"}
    assert sequence["length"] == len(sequence["tokens"])
    assert said.document["changed"] is False


def test_preview_of_a_shuffle_keeps_the_tokens_and_moves_them(say: Say) -> None:
    def rationale(condition: str) -> list[str]:
        document = say(f"preview --task field_guide --condition {condition} --json").document
        return [token["text"] for token in document["sequences"][0]["tokens"] if token["span"] == "rationale"]

    intact, shuffled = rationale("post_cot"), rationale("shuffled")
    assert shuffled != intact
    assert sorted(shuffled) == sorted(intact)
    assert rationale("shuffled --seed 1") != shuffled


def test_preview_of_multitask_has_two_sequences_and_of_the_undistilled_none(say: Say) -> None:
    assert len(say("preview --task field_guide --condition multitask --json").document["sequences"]) == 2
    assert say("preview --task field_guide --condition undistilled --json").document["sequences"] == []


def test_preview_of_a_counterfactual_has_a_rationale_that_is_read_and_not_predicted(say: Say) -> None:
    own, other = say("preview --task field_guide --condition pre_cot+counterfactual --json").document["sequences"]
    losses = [{token["loss"] for token in one["tokens"] if token["span"] == "rationale"} for one in (own, other)]
    assert losses == [{"rationale"}, {"none"}] and own["text"].split()[-1] != other["text"].split()[-1]


def test_preview_for_a_person_marks_what_is_predicted(say: Say) -> None:
    out = say("preview --task field_guide --condition pre_cot").out
    assert re.search(r"^  rationale +\S.*<- rationale loss$", out, re.MULTILINE)
    assert re.search(r"^  label +\S+   <- label loss$", out, re.MULTILINE)


# --- studies ----------------------------------------------------------------------------------------------------------------------------------


def test_a_plan_counts_its_runs_and_trains_nothing(say: Say, home: Path) -> None:
    said = say("study plan starter --json")
    assert said.code == 0, said
    check_keys("study plan", said.document)
    assert said.document["counts"] == {"runs": 50, "new": 50, "bases": 1, "replicates": 5}
    assert len({run["id"] for run in said.document["runs"]}) == 50
    assert Store.open(home).queue.jobs() == []
    assert "50 runs to train" in say("study plan starter").out


def test_overrides_make_a_variant_under_the_same_name(say: Say) -> None:
    usual = say("study plan starter --json").document
    variant = say(
        "study plan starter --seeds 5 --steps 100 --conditions label_only,shuffled --set training.lr=0.001 --json"
    ).document
    assert variant["name"] == usual["name"] == "starter"
    assert variant["plan_hash"] != usual["plan_hash"]
    assert variant["counts"]["runs"] == 10
    assert variant["spec"]["training"]["steps"] == 100
    assert variant["spec"]["training"]["lr"] == 0.001
    assert variant["spec"]["conditions"] == ["label_only", "post_cot/shuffle(unit=token,fraction=1.0)"]


def test_conditions_without_the_baseline_of_the_study_are_compared_to_the_first_and_that_is_said(say: Say) -> None:
    said = say("study plan starter --conditions pre_cot,post_cot --json")
    assert said.code == 0 and said.document["baseline"] == "pre_cot"
    assert (
        "label_only, the baseline of starter, is not among these conditions: differences are taken to pre_cot."
        in said.err
    )
    named = say("study plan starter --conditions pre_cot,post_cot --baseline post_cot --json")
    assert named.document["baseline"] == "post_cot" and "not among" not in named.err
    kept = say("study plan starter --conditions label_only,post_cot --json")
    assert kept.document["baseline"] == "label_only" and "not among" not in kept.err


def test_a_study_without_a_name_starts_from_its_task(say: Say) -> None:
    document = say(
        "study plan --task field_guide --student nano --conditions label_only,post_cot --seeds 2 --json"
    ).document
    assert document["counts"]["runs"] == 4
    assert document["baseline"] == "label_only"


def test_a_yaml_file_takes_the_same_keys(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "task: field_guide\nconditions: [label_only, post_cot]\nreplicates: 1\ntraining: {steps: 7}\nstudent.name: micro\n"
    )
    document = say(f"study plan {path} --seeds 2 --json").document
    assert (document["name"], document["student"], document["counts"]["runs"]) == ("mine", "micro", 4)
    assert document["spec"]["training"]["steps"] == 7


def test_the_command_that_a_page_shows_gives_the_study_of_the_page(say: Say) -> None:
    from cotdistill.config import plain
    from cotdistill.report.commands import run_study
    from cotdistill.studies.spec import study_spec

    for name, values in (
        ("starter", {}),
        (
            "starter",
            {"replicates": 2, "training.lr": 0.002, "conditions": "label_only,post_cot@source=answer_first_long"},
        ),
        (
            None,
            {
                "task": "field_guide",
                "name": "my study",
                "conditions": "label_only,pre_cot",
                "fixed_seeds": {"world": 0},
                "student.name": "micro",
            },
        ),
    ):
        spec = study_spec(name, values)
        words = shlex.split(run_study(spec, "plan"))
        assert words[0] == "cotdistill"
        told = say("", *words[1:], "--json").document["spec"]
        assert told == plain(spec)


# --- commands under another name -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_spelling_answers_with_the_new_one_and_exit_code_2(old: str, say: Say) -> None:
    said = say(f"{old} 3 --json")
    assert said.code == 2 and said.error["kind"] == "usage"
    words = RENAMED[old].split()
    assert said.error["hint"].startswith(
        f"Use: cotdistill {' '.join(words[: words.index('{}')] if '{}' in words else words)}"
    )
    named = [words[0], " ".join(words[:2])]
    assert any(command.words in named for command in NOUNS[words[0]])


def test_the_arguments_of_an_old_spelling_are_kept(say: Say) -> None:
    assert "cotdistill inspect probe 7 --split 'a b'" in say("probe 7 --split 'a b'").err
    assert "cotdistill study show starter --by rival" in say("rivals starter").err


# --- documents described by dataclasses ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    share: float  # between 0 and 1


@dataclass(frozen=True)
class Tree:
    name: str  # what it is called
    leaves: list[Leaf]  # every leaf
    crown: Leaf | None  # the highest leaf, or null
    height: float = field(default=0.0, metadata={"help": "metres"})


def test_the_keys_of_a_document_are_the_fields_of_its_dataclass_with_their_comments() -> None:
    assert keys_of(Tree) == {
        "name": "what it is called",
        "leaves": "every leaf",
        "leaves[].share": "between 0 and 1",
        "crown": "the highest leaf, or null",
        "crown.share": "between 0 and 1",
        "height": "metres",
    }


def test_a_field_that_nothing_describes_is_an_error() -> None:
    @dataclass(frozen=True)
    class Bare:
        name: str

    with pytest.raises(TypeError, match=r"Bare\.name has no comment"):
        keys_of(Bare)


def test_the_help_begins_with_eight_commands_and_the_page_for_people_stays_short(say: Say) -> None:
    first = say("--help").out.split("\n\n")[2].splitlines()
    assert [re.split(r"  +", line.strip())[0] for line in first] == [
        "app start", "tasks import", "preview", "study plan", "study run", "compare", "inspect", "report",
    ]  # fmt: skip
    assert len((ROOT / "docs" / "cli.md").read_text(encoding="utf-8").splitlines()) < 1100


def test_every_module_of_the_commands_fits_in_a_room_of_twenty() -> None:
    folder = ROOT / "cotdistill" / "cli"
    assert all(len(list(room.glob("*.py"))) <= 20 for room in [folder, *folder.rglob("*")] if room.is_dir())
