"""What pages say and draw, without a page: words and numbers, colours and marks, spans, HTML, figures, CSV, commands."""

import csv
import html
import io
import itertools
import shlex
from pathlib import Path

import pandas as pd
import pytest

from cotdistill import text as wording
from cotdistill.cli.overrides import setting_of
from cotdistill.rationales.conditions import PRESETS, parse
from cotdistill.rationales.transforms import TRANSFORMS
from cotdistill.report import captions, commands, markup, spans
from cotdistill.report.figures import base, palette
from cotdistill.report.figures.marks import image
from cotdistill.studies.spec import StudySpec, starter, study_spec

STARTER = starter().conditions


def luminance(color):
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in palette.channels(color)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def seen_without_green(color):
    """The colour as a deuteranope sees it (Machado, Oliveira and Fernandes 2009, severity 1)."""
    r, g, b = palette.channels(color)
    return (0.367 * r + 0.861 * g - 0.228 * b, 0.280 * r + 0.673 * g + 0.047 * b, -0.012 * r + 0.043 * g + 0.969 * b)


def test_every_hue_reads_on_light_and_on_dark_ground():
    for name, color in palette.HUES.items():
        assert contrast(color, "#FFFFFF") >= 3.0, name
        assert contrast(color, "#14171A") >= 3.0, name


def test_placements_are_told_apart_without_seeing_green():
    hues = [palette.HUES[name] for name in ("label_only", "pre_cot", "post_cot", "multitask")]
    for one, other in itertools.combinations(hues, 2):
        assert (
            sum((a - b) ** 2 for a, b in zip(seen_without_green(one), seen_without_green(other), strict=True)) > 0.03
        ), (one, other)


def test_no_two_conditions_of_the_starter_study_look_the_same():
    looks = [palette.look(condition) for condition in STARTER]
    assert len({(look.color, look.mark) for look in looks}) == len(STARTER)


def test_controls_are_hollow_and_everything_else_is_filled():
    assert palette.look("post_cot/swap(partner=other_label)").hollow
    assert palette.look("label_only@tokens=post_cot").mark == "circle-open"
    assert not palette.look("post_cot/shuffle(unit=token,fraction=1.0)").hollow


def test_every_registered_transform_has_a_mark_that_can_be_drawn_small():
    for entry in TRANSFORMS:
        assert image(palette.look(f"post_cot/{entry.name}")).startswith("<img ")


def test_numbers_have_honest_digits():
    assert wording.percent(0.7231) == "72.3 %"
    assert wording.percent(None) == "–"
    assert [wording.points(v) for v in (0.195, -0.0004, -0.051)] == ["+19.5", "0.0", "−5.1"]
    assert [wording.p_value(v) for v in (0.004, 0.043, 0.5, None)] == ["< .01", ".04", ".50", "–"]
    assert wording.between_points(-0.01, 0.023) == "−1.0 to +2.3"
    assert wording.between_points(-5.853, 6.853) == "−100.0 to +100.0"
    assert [wording.duration(s) for s in (3.4, 200, 3600, 7500)] == ["3 s", "3 min 20 s", "1 h", "2 h 5 min"]
    assert [wording.about(*r) for r in ((5, 40), (300, 660), (4000, 9000))] == [
        "under a minute",
        "5 to 11 min",
        "1.1 to 2.5 h",
    ]
    assert [wording.size(n) for n in (12, 3_400_000)] == ["12 B", "3.4 MB"]


def test_text_from_data_means_nothing_to_markdown():
    assert wording.plain_markdown("**a** [b](c) :red[d] $e$ `f`\n# g") == (
        r"\*\*a\*\* \[b\]\(c\) \:red\[d\] \$e\$ \`f\` \# g"
    )
    # Addresses would be made links by their looks.
    for told in ("see http://a.b", "WWW.a.b", "x@y.z"):
        assert wording.plain_markdown(told).replace("\\", "").replace(
            "\u2060", ""
        ) == told and "\u2060" in wording.plain_markdown(told)


def test_a_shuffled_rationale_is_shown_as_moved_and_a_dropped_one_as_left_out(encoder, examples):
    corpus = encoder.corpus(examples)

    def shown(text):
        [sequence] = encoder.sequences(corpus, 0, parse(text), 0)
        return spans.pieces(sequence, encoder.pieces(sequence))

    intact = len(corpus.passages[0])
    whole, shuffled, half, swapped = (
        spans.difference([shown(text)], intact)
        for text in ("post_cot", "shuffled", "post_cot/truncate(keep=last,fraction=0.5)", "swapped")
    )
    assert (whole.kept, whole.moved, whole.foreign) == (intact, 0, 0)
    assert shuffled.kept == intact and shuffled.moved > 0
    assert half.kept == round(intact / 2) and half.moved == 0 and half.left_out == intact - half.kept
    assert (swapped.kept, swapped.foreign) == (0, len([p for p in shown("swapped") if p.segment == "rationale"]))
    gaps = [piece.gap for piece in shown("post_cot/truncate(keep=last,fraction=0.5)") if piece.gap]
    assert gaps == [intact - half.kept]
    assert {piece.loss for piece in shown("label_only")} == {"", "label"}


def test_markup_in_a_token_is_text():
    piece = spans.Piece("<script>alert(1)</script>", 7, "question", "", -1, "", 0)
    card = markup.ConditionCard("post_cot", '"><b>label', [[piece]], "<i>told</i>")
    drawn = markup.cards([card])
    assert "<script>" not in drawn and "<b>" not in drawn and "<i>" not in drawn
    assert html.escape("<script>alert(1)</script>") in drawn


def test_a_table_escapes_its_cells_and_strikes_out_what_is_done():
    drawn = markup.table(
        ("<h>",), [[markup.TableCell("<a>", struck=True, title='"x')], [markup.Shares({"<k>": 1, "B": 3})]], "<t>"
    )
    assert "<a>" not in drawn and "<k>" not in drawn and "<h>" not in drawn and "<s>&lt;a&gt;</s>" in drawn
    assert "75.0 %" in drawn


def test_a_spreadsheet_reads_no_formula_out_of_a_csv():
    text = captions.csv_text(["=name", "n"], [["=1+1", 2.5], ["@x", None], ["-5", float("nan")], ["plain", -5]])
    assert list(csv.reader(io.StringIO(text))) == [
        ["'=name", "n"],
        ["'=1+1", "2.5"],
        ["'@x", ""],
        ["'-5", ""],
        ["plain", "-5"],
    ]


def accuracy(condition, mean, low, high):
    return base.AccuracyRow(condition, parse(condition).label, mean, low, high, (mean,), 1)


def difference(condition, value, word):
    return base.ForestRow(condition, parse(condition).label, value, value - 0.02, value + 0.02, word)


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        (
            [difference("post_cot", 0.195, "better"), difference("pre_cot", 0.3, "better")],
            "Post-CoT beats label only by 19.5 points",
        ),
        ([difference("post_cot", -0.05, "worse")], "Post-CoT falls 5.0 points short of label only"),
        (
            [difference("post_cot", 0.01, "not distinguishable")],
            "Post-CoT: not distinguishable from label only (+1.0 points)",
        ),
        ([difference("post_cot", 0.1, "provisional")], "Post-CoT stands +10.0 points from label only"),
        ([], "Nothing to compare with label only yet"),
    ],
)
def test_the_title_of_a_difference_says_no_more_than_its_verdict(rows, title):
    assert captions.difference_title(rows, "label only") == title


def test_the_title_says_so_when_nothing_is_above_chance():
    near = [accuracy("label_only", 0.21, 0.18, 0.24), accuracy("post_cot", 0.22, 0.19, 0.25)]
    assert captions.accuracy_title(near, 0.2) == "No condition is above chance (20.0 %)"
    assert (
        captions.accuracy_title([*near, accuracy("pre_cot", 0.4, 0.37, 0.43)], 0.2) == "Pre-CoT is highest with 40.0 %"
    )


def test_the_title_says_so_when_no_condition_stands_out():
    close = [accuracy("label_only", 0.22, 0.19, 0.25), accuracy("post_cot", 0.23, 0.21, 0.25)]
    assert (
        captions.accuracy_title(close, 0.2)
        == "No condition stands out: all lie between 22.0 and 23.0 % (chance 20.0 %)"
    )


def test_a_study_of_one_world_says_so_and_one_of_real_text_does_not():
    assert captions.world_told(StudySpec(fixed_seeds={"world": 0}, replicates=3)) == ", in this one artificial world"
    assert captions.world_told(StudySpec(replicates=5)) == ", over 5 artificial worlds"
    assert captions.world_told(StudySpec(task="commonsenseqa")) == ""


def test_figures_draw_the_largest_on_top_with_every_replicate_and_the_chance_line():
    rows = [
        base.AccuracyRow("label_only", "label <only>", 0.7, 0.6, 0.8, (0.65, 0.75), 2),
        accuracy("post_cot", 0.9, None, None),
    ]
    drawn = base.accuracy(rows, 0.25, "t")
    assert list(drawn.layout.yaxis.ticktext)[-1].endswith("post-CoT</span>")
    assert "label &lt;only&gt;" in drawn.layout.yaxis.ticktext[0]
    ticks = [list(trace.x) for trace in drawn.data if trace.marker.symbol == "line-ns"]
    assert [65.0, 75.0] in ticks and [90.0] in ticks
    assert [shape.x0 for shape in drawn.layout.shapes] == [25.0]
    forest = base.forest(
        [difference("post_cot", 0.2, "better"), difference("pre_cot", -0.1, "worse")], "label only", "t"
    )
    assert [text.split("'>")[1] for text in forest.layout.yaxis.ticktext] == ["pre-CoT</span>", "post-CoT</span>"]


def test_curves_average_replicates_record_by_record():
    records = [(0, 10, 3.0), (0, 20, 1.0), (1, 10, 5.0), (1, 20, 2.0)]
    frame = pd.DataFrame(
        [
            {"condition": "post_cot", "replicate": r, "step": s, "tokens": 10 * s, "name": "loss", "value": v}
            for r, s, v in records
        ]
    )
    [curve] = captions.curve_rows(frame, {"post_cot": "post-CoT", "pre_cot": "pre-CoT"}, "loss", "tokens")
    assert (curve.x, curve.y) == ((100.0, 200.0), (4.0, 1.5))
    assert len(curve.replicates) == 2
    assert base.curves([curve], "tokens", "loss", "t", share=False).data


def test_the_command_of_a_study_makes_the_same_study():
    spec = study_spec(
        "starter", {"replicates": 2, "training.lr": 0.001, "conditions": "label_only,shuffled", "fixed_seeds": {}}
    )
    words = shlex.split(commands.run_study(spec))
    assert words[:4] == ["cotdistill", "study", "run", "starter"]
    settings = dict(setting_of(words[i + 1]) for i, word in enumerate(words) if word == "--set")
    values = {
        "replicates": int(words[words.index("--seeds") + 1]),
        "conditions": words[words.index("--conditions") + 1],
        **settings,
    }
    assert study_spec("starter", values) == spec
    assert commands.run_study(starter()) == "cotdistill study run starter"


def test_a_command_survives_the_shell(tmp_path):
    words = shlex.split(commands.command("tasks", "import", str(Path("a b") / "c'd"), "--name", "$(x)"))
    assert words[1:] == ["tasks", "import", "a b/c'd", "--name", "$(x)"]


def test_presets_and_what_they_stand_for_have_one_name():
    for preset in PRESETS:
        assert parse(preset.name).label == parse(preset.condition).label
