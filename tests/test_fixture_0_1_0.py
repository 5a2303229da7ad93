"""A store and an archive that 0.1.0 wrote open in this version and give the same numbers to the last digit; the same plans mean the same runs.

`stores/make_fixture_0_1_0.py` made the files with the code of 0.1.0; they are never made again. What stands in a document of 0.1.0 must stand in today's with the
same value; today's may say more. Words may be put better; intervals are compared by the rules of 0.1.0 (`judge_as_0_1_0_did`), all else as it stands.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
import os
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cotdistill.cli import main
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.statistics import intervals, power
from cotdistill.statistics.distributions import t_quantile
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping

# --- what changes when commands or words do -----------------------------------------------------------------------------------------------------

# How 0.1.0 was asked, and how the same is asked today. The rest of a line (names, numbers, options) stays.
COMMANDS = {
    "attention": "inspect attention",
    "attribute": "inspect attribute",
    "compare": "compare",
    "conditions list": "conditions list",
    "faithfulness": "inspect faithfulness",
    "findings": "compare",
    "follows": "inspect follows",
    "influence": "inspect influence",
    "keytokens compare": "keytokens compare",
    "keytokens selectors": "keytokens selectors",
    "keytokens show": "keytokens show",
    "lint": "lint",
    "modes": "inspect modes",
    "paraphrases": "inspect paraphrases",
    "preview": "preview",
    "probe": "inspect probe",
    "queue workers": "queue workers",
    "rivals": "study show --by rival",
    "rounds show": "rounds show",
    "runs list": "runs list",
    "runs show": "runs show",
    "scorers": "inspect scorers",
    "stability": "inspect stability",
    "students list": "students list",
    "study import": "study import",
    "study list": "study list",
    "study note": "study note",
    "study plan": "study plan",
    "study show": "study show",
    "study sizes": "study show --by size",
    "tasks list": "tasks list",
    "tasks rationales": "teacher show",
    "tasks show": "tasks show",
    "teacher filter": "teacher filter",
    "teacher filters": "teacher filters",
    "teacher list": "teacher list",
    "teacher progress": "teacher progress",
    "teacher quality": "teacher quality",
    "teacher show": "teacher show",
    "verdicts": "study list --claims",
    "verify": "store verify",
}
# Options that are written otherwise today.
OPTIONS: dict[str, str] = {}
# Keys whose values are words for people. A key that nobody answers with any more, or whose sentences have changed, moves to UNSAID.
WORDS = {
    "advice", "budget", "change", "checks", "diagnostic", "first_label", "help", "kind", "label", "method", "not_readable", "second_label", "shown",
    "speaks_of", "stage", "status", "test_is", "title", "told", "when", "why", "word",
}  # fmt: skip
UNSAID: set[str] = set()
# Numbers that are others on purpose with the rules of 0.1.0 too: a power of no study is stated beyond 100 points; more data settle nothing that lies
# on the wrong side; a study that shares runs with an earlier one says so; `told` of a finding of lint is `message`.
RESTATED = (
    ("study plan", ".effect.points_high"),
    ("findings", ".settled_by"),
    ("findings", ".extended"),
)
# 0.1.0 showed the rationales of a row by `tasks rationales`; `teacher show` leaves out sources without one, and is compared itself.
LEFT_OUT = {"tasks rationales"}
# A study of one condition is refused in a comparison.
REFUSED = ("compare based", "findings based")
# Built-in studies have grown: their plans are compared run by run, but for the conditions that are no longer planned.
BUILT_IN = ("study plan starter", "study plan keytokens", "study plan neighbours")
DROPPED = {"study plan starter": {"pre_cot@source=answer_first_long"}}
# Where a document of 0.1.0 stands in today's.
INSIDE = {"rivals": "by_rival", "study sizes": "by_size"}
# Commands whose numbers differ in the last bits between processors (found by turning AVX2 and AVX-512 off in numpy, torch and OpenBLAS).
PROCESSOR = ("rivals",)
# Lists of what there is to choose from: new entries may have come. Every other list is as long as it was.
CATALOGUES = ("conditions list", "keytokens selectors", "students list", "tasks list", "teacher filters")

# --- the fixture --------------------------------------------------------------------------------------------------------------------------------

FOLDER = Path(__file__).parent / "stores"
STORE, ARCHIVE = FOLDER / "store-0.1.0.tar.gz", FOLDER / "archive-0.1.0.cotdistill.zip"
NUMBERS: dict[str, dict[str, Any]] = json.loads(gzip.decompress((FOLDER / "numbers-0.1.0.json.gz").read_bytes()))


def words_of(line: str) -> str:
    """The noun and verb of a line of 0.1.0, as COMMANDS has them."""
    (found,) = {" ".join(line.split()[:n]) for n in (1, 2)} & set(COMMANDS)
    return found


def today(line: str) -> list[str]:
    """A line of 0.1.0 as the words of today."""
    words = words_of(line)
    return [OPTIONS.get(word, word) for word in (*shlex.split(COMMANDS[words]), *shlex.split(line.removeprefix(words)))]


def lines_of(part: str, words: str) -> list[str]:
    return [
        line
        for line in NUMBERS[part]
        if words_of(line) == words and not line.startswith(REFUSED) and line not in BUILT_IN
    ]


def asked_with(part: str) -> list[str]:
    return sorted({words_of(line) for line in NUMBERS[part]} - LEFT_OUT)


class NobodyWorks(subprocess.Popen[Any]):
    """No supervisor, worker or warm process; other programs may be asked (nvidia-smi)."""

    def __init__(self, args: Any, *rest: Any, **more: Any) -> None:
        assert sys.executable not in args, f"{args} was started, so something is not in the store"
        super().__init__(args, *rest, **more)


class Home:
    """A store that is asked through the terminal, in this process; every line once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Any] = {}

    def ask(self, line: str) -> Any:
        if line not in self._known:
            out, err = io.StringIO(), io.StringIO()
            with (
                pytest.MonkeyPatch.context() as patch,
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                patch.setenv("COTDISTILL_HOME", str(self.folder))
                # Whatever is not in the store would be a job of its own, and somebody would be started who does it.
                patch.setattr(subprocess, "Popen", NobodyWorks)
                code = main([*today(line), "--json"])
            document = json.loads(out.getvalue())
            assert code == 0, f"{line}: {document}"
            self._known[line] = document
        return self._known[line]


def unpacked(folder: Path) -> Path:
    with tarfile.open(STORE) as tar:
        tar.extractall(folder, filter="data")
    return folder / "store"


def judge_as_0_1_0_did(patch: pytest.MonkeyPatch) -> None:
    """Leave out the four rules that came after 0.1.0 (docs/statistics.md); with them off, its intervals and p come back to the last digit.

    Intervals where few answers differ are joined with Tango's; accuracies near 0 and 100 % with Wilson's; replicates that all give 0 prove no
    difference of 0; the smallest detectable difference is by the noncentral t.
    """
    finish = intervals._finish

    def finish_as_0_1_0_did(mean: float, variance: float, df: float, method: str, speaks_of: str) -> intervals.Interval:
        if mean == 0 and math.sqrt(max(variance, 0.0)) < 1e-12:
            return intervals.Interval(0.0, 0.0, 0.0, 1.0, df, method, speaks_of)
        return finish(mean, variance, df, method, speaks_of)

    patch.setattr(intervals, "_finish", finish_as_0_1_0_did)
    patch.setattr(intervals, "_widened", lambda interval, values, clusters: interval)
    patch.setattr(intervals, "_sparse_accuracy", lambda interval, correct, clusters: interval)
    # Plans of a pretrained student: settings that suit it, and one undistilled run for all replicates, came later, too.
    patch.setattr("cotdistill.studies.spec.suited", lambda student, device="cpu": {})
    patch.setattr("cotdistill.planning.plan._is_seedless", lambda condition, student: False)
    patch.setattr(power, "_reach", lambda n: t_quantile(0.975, n - 1) + t_quantile(0.8, n - 1))


@pytest.fixture(scope="module", autouse=True)
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the store; the pretrained student is found in the hub's cache beside it, and nothing is asked of the hub."""
    folder = tmp_path_factory.mktemp("before")
    home = unpacked(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(folder / "hub"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        judge_as_0_1_0_did(patch)
        yield home


@pytest.fixture(scope="module")
def store(opened: Path) -> Home:
    return Home(opened)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """An empty store into which the archive was imported."""
    home = Home(tmp_path_factory.mktemp("archive"))
    home.ask("queue workers 1")
    home.ask(f"study import {shlex.quote(str(ARCHIVE))}")
    return home


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("empty"))
    home.ask("queue workers 1")
    return home


# --- what is compared ---------------------------------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    path: str
    key: str
    recorded: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.path}: {str(self.recorded)[:120]!r} in 0.1.0, {str(self.now)[:120]!r} now"


ABSENT = "(absent)"


def same(recorded: Any, now: Any) -> bool:
    """Equal, to the last digit; 1 is no True."""
    return bool(recorded == now) and isinstance(recorded, bool) == isinstance(now, bool)


def nearly(recorded: Any, now: Any) -> bool:
    """Equal but for the last three bits, in which numpy's own functions differ between processors."""
    if isinstance(recorded, float) and isinstance(now, float):
        return abs(recorded - now) <= 8 * math.ulp(recorded)
    return same(recorded, now)


def near(recorded: Any, now: Any, size: float = 2e-3) -> bool:
    """Equal but for what a student that is asked anew answers on another processor."""
    if isinstance(recorded, float) and isinstance(now, (int, float)):
        return bool(now == pytest.approx(recorded, rel=size, abs=size))
    return same(recorded, now)


def coarse(recorded: Any, now: Any) -> bool:
    """The same of weights in bf16, which have three digits."""
    return near(recorded, now, 0.05)


def differences(
    recorded: Any,
    now: Any,
    equal: Callable[[Any, Any], bool] = same,
    *,
    more: bool = False,
    path: str = "",
    key: str = "",
) -> list[Difference]:
    """What of a document of 0.1.0 is not in today's. more: lists may have gained entries, each known by its id."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        found = []
        for name, value in recorded.items():
            found += differences(value, now.get(name, ABSENT), equal, more=more, path=f"{path}.{name}", key=name)
        return found
    if isinstance(recorded, list) and isinstance(now, list):
        if more and recorded and all(isinstance(one, dict) and "id" in one for one in (*recorded, *now)):
            by_id = {(one["id"], one.get("kind")): one for one in now}
            now = [by_id.get((one["id"], one.get("kind")), ABSENT) for one in recorded]
        if more and key == "choices":
            now = [choice if choice in now else ABSENT for choice in recorded]
        if len(recorded) != len(now):
            return [Difference(f"{path}[]", key, f"{len(recorded)} entries", f"{len(now)} entries")]
        return [
            difference
            for place, (one, other) in enumerate(zip(recorded, now, strict=True))
            for difference in differences(one, other, equal, more=more, path=f"{path}[{place}]", key=key)
        ]
    return [] if equal(recorded, now) else [Difference(path, key, recorded, now)]


def equality(part: str, line: str) -> Callable[[Any, Any], bool]:
    """How the answer to a line is compared: to the last digit, but for what depends on the processor."""
    if part == "computed":
        return coarse if "--method occlusion" in line else near
    return nearly if words_of(line) in PROCESSOR else same


def restated(words: str, difference: Difference) -> bool:
    return difference.key in WORDS | UNSAID or any(words == w and difference.path.endswith(e) for w, e in RESTATED)


def answer(home: Home, line: str) -> Any:
    """Today's document to a line of 0.1.0, or the part of it that was one in 0.1.0."""
    words, document = words_of(line), home.ask(line)
    return (document[INSIDE[words]] or []) if words in INSIDE else document


def changed(home: Home, part: str, words: str) -> list[str]:
    """The differences between the numbers that 0.1.0 answered to all lines of a command and those of now."""
    found = []
    for line in lines_of(part, words):
        for difference in differences(
            NUMBERS[part][line], answer(home, line), equality(part, line), more=words in CATALOGUES
        ):
            if not restated(words, difference):
                found.append(f"{line[:100]}{difference}")
    return found[:20]


def leaves(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(document, (dict, list)):
        for name, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from leaves(value, (*path, name))
    else:
        yield path, document


def put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for name in path[:-1]:
        document = document[name]
    document[path[-1]] = value


def test_one_other_digit_is_seen():
    document = NUMBERS["store"]["findings ours"]
    copy = json.loads(json.dumps(document))
    assert not differences(document, copy) and not differences(document, {**copy, "new": 1})
    numbers = [(path, value) for path, value in leaves(copy) if isinstance(value, float) and value]
    assert len(numbers) > 100
    for path, value in numbers:
        put(copy, path, math.nextafter(value, math.inf))
        assert len(differences(document, copy)) == 1, path
        put(copy, path, value)
    del copy["claims"][0]["p"]
    copy["claims"].append({})
    assert [d.path for d in differences(document, copy)] == [".claims[]"]


def test_every_kind_of_job_stands_in_the_store(store):
    runs = store.ask("runs list --kind all")
    assert {run["kind"] for run in runs if run["state"] == "finished"} >= {
        "base", "train", "select", "attribute", "influence", "faithfulness", "elicit", "answers", "modes", "probe", "scorers", "concentration",
        "paraphrases", "write",
    }  # fmt: skip
    assert (
        {run["state"] for run in runs} == {"finished", "stopped"}
        and any(run["origin"] for run in runs)
        and any(not run["origin"] for run in runs)
    )


# --- the store ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", asked_with("store"))
def test_a_store_of_0_1_0_gives_the_same_numbers(words, store):
    assert changed(store, "store", words) == []


@pytest.mark.parametrize("words", asked_with("computed"))
def test_weights_of_0_1_0_are_read_and_looked_into(words, store):
    assert changed(store, "computed", words) == []


def test_a_store_of_0_1_0_is_as_its_hashes_say(store):
    found = store.ask("verify")
    assert found["ok"] and found["problems"] == [] and found["jobs"] == len(store.ask("runs list --kind all"))


def test_a_study_of_0_1_0_that_is_planned_again_is_done_already(store):
    plans = [line for line in lines_of("store", "study plan") if not line.endswith((" halted", " quiz"))]
    assert sum("--conditions" in line for line in plans) == 2 and len(plans) == 7
    for line in plans:
        found = store.ask(line)
        assert found["counts"]["new"] == 0, line
        assert {run["state"] for part in ("runs", "bases", "inputs") for run in found[part]} == {"finished"}, line
        for part in ("runs", "bases", "inputs"):
            assert [run["id"] for run in found[part]] == [run["id"] for run in NUMBERS["store"][line][part]], line


def test_what_is_asked_of_a_store_of_0_1_0_leaves_it_as_it_was(store):
    for words in asked_with("store"):
        for line in lines_of("store", words):
            store.ask(line)
    recorded = NUMBERS["store"]["runs list --kind all"]
    assert not differences(recorded, Home(store.folder).ask("runs list --kind all"))


# --- the archive --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", asked_with("archive"))
def test_an_archive_of_0_1_0_gives_the_same_numbers(words, archive):
    assert changed(archive, "archive", words) == []


def test_an_archive_of_0_1_0_is_as_its_hashes_say_and_its_study_is_done(archive):
    assert archive.ask("verify")["ok"]
    for line in lines_of("archive", "study plan"):
        assert archive.ask(line)["counts"]["new"] == 0, line


def test_an_archive_of_0_1_0_joins_a_store_of_0_1_0(tmp_path):
    both = Home(unpacked(tmp_path))
    before = {run["id"]: run for run in both.ask("runs list --kind all")}
    both.ask(f"study import {shlex.quote(str(ARCHIVE))}")
    after = {run["id"]: run for run in Home(both.folder).ask("runs list --kind all")}
    assert len(after) > len(before) and all(after[id] == run for id, run in before.items())
    recorded, now = NUMBERS["archive"]["findings field"], both.ask("findings field")
    assert not [d for d in differences(recorded["conditions"], now["conditions"]) if not restated("findings", d)]
    assert both.ask("verify")["ok"]


# --- an empty store -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", asked_with("empty"))
def test_what_is_derived_in_an_empty_store_is_what_0_1_0_derived(words, empty):
    """Generated worlds, the runs of studies that are given in full, and the tokens of every condition."""
    assert changed(empty, "empty", words) == []


@pytest.mark.parametrize("line", BUILT_IN)
def test_a_built_in_study_that_has_grown_holds_the_runs_that_0_1_0_planned(line, empty):
    """It has more replicates, and the starter study lost a condition; every other run means what it meant."""
    recorded, now = NUMBERS["empty"][line], empty.ask(line)
    for part in ("runs", "bases", "inputs"):
        kept = [run for run in recorded[part] if run.get("condition") not in DROPPED.get(line, ())]
        today = {run["id"]: run for run in now[part]}
        assert {run["id"] for run in kept} <= set(today), part
        assert not [d for run in kept for d in differences(run, today[run["id"]]) if d.key not in WORDS], part


# --- training again -----------------------------------------------------------------------------------------------------------------------------

# Counted, so the same on every processor: which examples a step holds, in which order, how they are laid out.
COUNTED = (
    "steps", "tokens", "padded_tokens", "loss_tokens", "train_rows", "excluded_rows", "parameters", "longest_rationale", "n", "chance", "metric",
)  # fmt: skip


def test_a_run_that_is_trained_again_sees_the_same_tokens_and_learns_the_same(store, tmp_path, monkeypatch):
    monkeypatch.setattr("cotdistill.execution.worker.IDLE_SECONDS", 0.0)
    study = store.ask("study plan tiny")
    values = {
        **study["spec"],
        "conditions": ["label_only", "post_cot/shuffle(unit=token)", "label_only@tokens=post_cot"],
        "replicates": 1,
    }
    again = Store.open(tmp_path / "again")
    launch(again, plan(again, spec_from_mapping(values)))
    work(again)
    earlier = {job.identity: job for job in Store.open(store.folder).queue.jobs(kind="train")}
    trained = again.queue.jobs(kind="train")
    for job in trained:
        assert job.state == "finished", job.error
        before = earlier[job.identity]
        assert {key: job.result[key] for key in COUNTED} == {key: before.result[key] for key in COUNTED}
        assert job.progress.get("loss", 0) == pytest.approx(before.progress.get("loss", 0), rel=0.02)
        if os.environ.get("COTDISTILL_SAME_MACHINE"):
            assert job.produced["weights@1"] == before.produced["weights@1"]
    assert len(trained) >= 3
