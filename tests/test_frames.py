"""Verdicts of any data frame: the numbers of a study, and every frame that cannot be compared refused in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cotdistill
from cotdistill.errors import CotdistillError, UnknownName
from cotdistill.exchange.frames import compare_frame
from cotdistill.exchange.import_predictions import import_answers
from cotdistill.results import results
from cotdistill.store.store import Store
from tests.terminal import check_keys, speaker

COLUMNS: dict[str, Any] = {"condition": "arm", "item": "question", "replicate": "seed", "correct": "right"}


def frame_of(answers: dict[str, list[str]]) -> pd.DataFrame:
    """arm -> one text per seed, a digit per question: {"a": ["110", "100"]}."""
    rows = [
        (arm, seed, f"q{place}", int(digit))
        for arm, texts in answers.items()
        for seed, text in enumerate(texts)
        for place, digit in enumerate(text)
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "question", "right"])


def refusal(frame: pd.DataFrame, **columns: Any) -> CotdistillError:
    with pytest.raises(CotdistillError) as raised:
        cotdistill.compare(frame, **{**COLUMNS, **columns})
    assert raised.value.hint
    return raised.value


def test_one_replicate_is_judged_by_mcnemars_exact_test() -> None:
    # Six questions gained and none lost of ten: p = 2 / 2^6.
    frame = frame_of({"plain": ["0000001111"], "cot": ["1111111111"]})
    table = cotdistill.compare(frame, condition="arm", item="question", correct="right")
    plain, cot = table.iloc[0], table.iloc[1]
    assert (plain["condition"], plain["word"], plain["accuracy"]) == ("plain", "baseline", 0.4)
    assert pd.isna(plain["difference"])
    assert (cot["difference"], cot["p"], cot["word"]) == (0.6, pytest.approx(0.03125), "better, this seed only")
    assert (cot["items"], cot["clusters"], cot["replicates"]) == (10, 10, 1)
    assert "one seed" in cot["kind"]


def test_a_data_frame_gets_the_words_of_a_study_to_the_last_digit(tmp_path: Path) -> None:
    lines = ["item,condition,replicate,answer,cluster,p_0,p_1"]
    for arm, every in (("label_only", 3), ("post_cot", 7), ("pre_cot", 2)):
        for seed in range(3):
            for place in range(30):
                wrong = (place + seed) % every == 0
                lines.append(
                    f"q{place:02d},{arm},{seed},0,c{place // 2},{0.3 if wrong else 0.7},{0.7 if wrong else 0.3}"
                )
    (tmp_path / "lab.csv").write_text("\n".join(lines))
    store = Store.open(tmp_path / "store")
    import_answers(store, tmp_path / "lab.csv", "lab")
    answers = results.predictions(store, "lab").sample(frac=1, random_state=0)
    compared = compare_frame(answers, replicate="replicate", cluster="cluster", baseline="label_only", margin=0.02)
    differences = {row.condition: row for row in results.comparison(store, "lab", "label_only", margin=0.02).rows}
    for row in compared.conditions:
        if row.difference:
            study = differences[row.condition]
            assert vars(row.difference) == {**vars(study), "label": row.condition}
    accuracies = {row.condition: (row.mean, row.low, row.high) for row in results.summary(store, "lab")}
    seen = {row.condition: (row.accuracy.mean, row.accuracy.low, row.accuracy.high) for row in compared.conditions}
    assert seen == accuracies


def test_true_and_one_say_the_same_and_order_does_not_matter() -> None:
    frame = frame_of({"a": ["1100", "1010"], "b": ["1111", "0111"]})
    table = cotdistill.compare(frame, **COLUMNS)
    for change in (
        frame.assign(right=frame["right"] == 1),
        frame.assign(right=frame["right"].map({1: "True", 0: "false"})),
        frame.assign(right=frame["right"].astype("Int64"), seed=frame["seed"].astype(float)),
        frame.iloc[::-1],
    ):
        other = cotdistill.compare(change, **COLUMNS, baseline="a").sort_values("condition", ignore_index=True)
        pd.testing.assert_frame_equal(other, table)


def test_replicates_with_questions_of_their_own_are_the_unit() -> None:
    frame = frame_of({"a": ["1100", "1010", "1000"], "b": ["1110", "1011", "1110"]})
    own = frame.assign(question=frame["seed"].astype(str) + frame["question"])
    table = cotdistill.compare(own, **COLUMNS)
    # Differences by seed: 1/4, 1/4, 2/4.
    assert table["difference"][1] == pytest.approx(1 / 3) and "new worlds" in table["kind"][1]


def test_questions_that_a_condition_lacks_are_named() -> None:
    frame = frame_of({"a": ["1100", "1010"], "b": ["1111", "0111"]})
    less = frame[~((frame["arm"] == "b") & (frame["seed"] == 1) & (frame["question"] == "q2"))]
    assert "b, replicate 1, lacks 1 of 4 test questions: q2" in refusal(less).message
    other = frame.assign(question=frame["question"].where(frame["arm"] == "a", "x" + frame["question"]))
    assert "lacks 4 of 8 test questions: xq0" in refusal(other).message


def test_a_replicate_that_a_condition_lacks_is_named_and_no_word_is_a_verdict() -> None:
    frame = frame_of({"a": ["1100", "1010", "1010"], "b": ["1111", "0111", "1111"], "c": ["1111", "0111", "1111"]})
    table = cotdistill.compare(frame[~((frame["arm"] == "b") & (frame["seed"] == 1))], **COLUMNS)
    assert list(table["word"])[1] == "provisional" and list(table["replicates"]) == [3, 2, 3]
    assert table["word"][2] != "provisional"
    assert "b lacks replicate 1, which other conditions have" in table.attrs["notes"][0]
    apart = frame.assign(seed=frame["seed"] + 3 * (frame["arm"] == "b"))
    table = cotdistill.compare(apart, **COLUMNS)
    assert table["word"][1] == "cannot be asked here"
    assert any("b and a share no replicate" in note for note in table.attrs["notes"])


def test_other_bad_frames_are_refused_in_words() -> None:
    frame = frame_of({"a": ["1100", "1010"], "b": ["1111", "0111"]})
    twice = pd.concat([frame, frame.iloc[[2]]], ignore_index=True)
    assert "'q2' is answered twice under a, replicate 0: in row 2 and 16" in refusal(twice).message
    assert "replicates apart" in refusal(frame, replicate=None).hint
    score = frame.astype({"right": float})
    score.loc[5, "right"] = 0.5
    assert refusal(score).message.startswith("right is '0.5' in row 5; expected 1")
    score.loc[4, "right"] = float("nan")
    assert refusal(score).message.startswith("row 4 has no value in column 'right'")
    nameless = frame.assign(arm=frame["arm"].where(frame.index != 7))
    assert refusal(nameless).message.startswith("row 7 has no condition")
    groups = frame.assign(group=[*"wwxx" * 3, *"wwxy"])
    assert "The cluster of 'q3' is 'y' in row 15 and 'x' before" in refusal(groups, cluster="group").message
    assert "one condition (a)" in refusal(frame[frame["arm"] == "a"]).message
    assert "no rows" in refusal(frame.head(0)).message
    lists = frame.assign(question=[[1]] * len(frame))
    assert "lists" in refusal(lists).message
    assert "Two columns are named 'arm'" in refusal(pd.concat([frame, frame[["arm"]]], axis=1)).message
    for columns in ({"condition": "amr"}, {"baseline": "c"}):
        assert isinstance(refusal(frame, **columns), UnknownName)


def test_a_file_is_compared_in_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say = speaker(capsys)
    frame = frame_of({"plain": ["1100", "1010"], "with rationale": ["1111", "0111"]})
    frame = frame.assign(question="0" + frame["question"].str.slice(1))
    for name in ("a.csv", "a.tsv", "a.parquet", "a.jsonl"):
        path = tmp_path / name
        if name.endswith("sv"):
            frame.to_csv(path, index=False, sep="\t" if name == "a.tsv" else ",")
        elif name == "a.jsonl":
            frame.to_json(path, orient="records", lines=True)
        else:
            frame.to_parquet(path)
        options = "--columns condition=arm,item=question,correct=right --json"
        document = say(f"compare {options}", str(path)).document
        check_keys("compare", document)
        plain, other = document["conditions"]
        assert (plain["accuracy"], plain["difference"], document["baseline"]) == (0.5, None, "plain")
        assert other["difference"]["points"] == pytest.approx(37.5) and other["replicates"] == [1.0, 0.75]
    path = tmp_path / "a.csv"
    shown = say("compare --columns condition=arm,item=question,correct=right", str(path)).out
    assert "with rationale" in shown and "+37.5" in shown and "Differences in points to plain" in shown
    assert say("compare", str(path)).err.startswith("No column is known for condition, item")
    assert "Known: cluster, condition" in say("compare --columns arm=arm", str(path)).err
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[4]]))
    refused = say("compare --columns condition=arm,item=question,correct=right", str(path))
    assert refused.code == 1 and "in line 5 and 18" in refused.err
    path.write_text("\n".join(lines[:-1]))
    assert (
        "a.csv cannot be compared: with rationale, replicate 1, lacks 1"
        in say("compare --columns condition=arm,item=question,correct=right", str(path)).err
    )
    assert say("compare", str(tmp_path / "none.csv")).code == 1
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe")
    assert "Is it whole" in say("compare", str(tmp_path / "b.csv")).err


def test_the_package_loads_neither_pandas_nor_numpy_until_it_is_asked() -> None:
    code = "import sys, cotdistill; assert not {'pandas', 'numpy', 'torch'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
