"""The arithmetic of comparisons and their place in the document of results."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "against"))

import material  # noqa: E402
import paired  # noqa: E402

from benchmarks import bench  # noqa: E402
from cotdistill.rationales.placement import PLACEMENTS  # noqa: E402


def test_a_ratio_is_the_median_of_the_pairs_own_ratios() -> None:
    found = paired.figure("w", "p", [10.0, 40.0, 30.0], [5.0, 10.0, 10.0], unit="x/s", same="", aim=3.0)
    assert (found.ours, found.peer) == (30.0, 10.0)
    assert (found.ratio, found.low, found.high, found.repeats) == (3.0, 2.0, 4.0, 3)
    assert found.met


def test_seconds_are_shown_where_seconds_are_compared() -> None:
    found = paired.figure("w", "p", [4.0], [0.5], unit="s", same="", aim=10.0)
    assert (found.ours, found.peer, found.ratio, found.met) == (0.25, 2.0, 8.0, False)


def test_both_sides_are_run_once_unmeasured_and_then_take_turns_at_beginning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    order: list[str] = []
    sides = [lambda name=name: order.append(name) or 1.0 for name in ("ours", "peer")]
    paired.compare("w", "p", *sides, unit="s", same="", aim=1.0, repeats=2)
    assert order == ["ours", "peer", "ours", "peer", "peer", "ours"]
    assert capsys.readouterr().out.startswith('{"kind": "Figure"')


def test_a_section_replaces_its_older_self_and_nothing_else() -> None:
    text = f"# Results\n\nfirst\n\n{bench.TITLE}\n\nold\n\n## Last\n\nend\n"
    new = f"{bench.TITLE}\n\nnew\n"
    assert bench.replaced(text, new) == f"# Results\n\nfirst\n\n{bench.TITLE}\n\nnew\n\n## Last\n\nend\n"
    assert bench.replaced("# Results\n", new) == f"# Results\n\n{new}"


def test_a_figure_below_its_aim_is_said_to_be() -> None:
    one = {
        "kind": "Figure",
        "what": "w",
        "peer_name": "p",
        "ours": 2.0,
        "peer": 1.0,
        "unit": "s",
        "ratio": 2.0,
        "low": 1.5,
        "high": 3.0,
        "aim": 5.0,
    }
    told = bench.section([one | {"same": "equal"}], ["x.py ended with code 1"], "about")
    assert "| w | p | 2 s | 1 s | 2.0 x (1.5 to 3.0) | 5 x | no | equal |" in told
    assert "Not measured: x.py ended with code 1." in told


def test_made_up_words_stand_in_where_the_real_data_is_not_at_hand(tmp_path: Path) -> None:
    made = material._made_up(tmp_path)
    first = made.dev[0]
    assert (first.id, first.split, len(first.choices), first.gold) == ("test-0", "test", 5, "ABCDE".index(first.answer))
    prompt = made.encoder.prompt(first, PLACEMENTS.get("post_cot").prompt("direct"))
    assert len(prompt) >= len(first.question.split())
    assert len(made.fast) == material.VOCABULARY


@pytest.mark.parametrize("name", bench.SCRIPTS)
def test_every_comparison_is_a_script_that_says_what_it_measures(name: str) -> None:
    path = ROOT / "benchmarks" / "against" / f"{name}.py"
    assert (ast.get_docstring(ast.parse(path.read_text())) or "").count(f"python benchmarks/against/{name}.py") == 1
