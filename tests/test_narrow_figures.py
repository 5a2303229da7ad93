"""Figures on a phone: names above their rows, nothing cut, and a plot that can be read."""

from cotdistill.report import export
from cotdistill.report.figures import base, narrow

LONG = "post-CoT, tokens marked by people (lab)"
ROWS = [
    base.AccuracyRow("post_cot", LONG, 0.7, 0.6, 0.8, (0.69, 0.71), 3),
    base.AccuracyRow("label_only", "label only", 0.6, 0.5, 0.7, (0.6,), 3),
]


def test_on_a_wide_page_a_figure_stays_as_it_is():
    figure = base.accuracy(ROWS, 0.5, "A title")
    assert narrow.fitted(figure, 1100) == figure


def test_on_350_pixels_names_stand_above_their_rows_and_values_at_the_right_end():
    figure = narrow.fitted(base.accuracy(ROWS, 0.5, "A title"), 350)
    names = {one.y: one for one in figure.layout.annotations if one.xref == "paper" and one.x == 0}
    assert "label only" in names[0].text and names[0].yanchor == "bottom"
    # 350 - 16 pixels at 0.56 * 12 a character are 49, less the 14 of "70.0  (2 of 3)" and 3: 32 for a line.
    assert narrow.plain(names[1].text.replace("<br>", "|")) == "post-CoT, tokens marked by|people (lab)"
    values = [one for one in figure.layout.annotations if one.xref == "paper" and one.x == 1]
    assert {one.xanchor for one in values} == {"right"} and len(values) == 2
    assert figure.layout.margin.l + figure.layout.margin.r == 12 and not figure.layout.yaxis.showticklabels


def test_a_long_title_takes_more_lines_and_the_figure_grows_by_them():
    title = "Post-CoT stands 0.0 points from label only and from every other condition"
    figure = base.titled(title, height=440)
    # 350 pixels at 0.56 * 17 a character: 36 characters a line, three lines, 22 pixels for each beyond the first.
    fitted = narrow.fitted(figure, 350)
    assert fitted.layout.title.text.count("<br>") == 2 and fitted.layout.height == 440 + 44
    assert fitted.layout.title.text.replace("<br>", " ") == title and figure.layout.title.text == title


def test_names_at_the_ends_of_curves_go_below_the_plot():
    curve = base.LearningCurve("post_cot", LONG, (0.0, 10.0), (0.2, 0.7), ())
    figure = narrow.fitted(base.curves([curve], "steps", "accuracy", "T", share=True), 350)
    (name,) = figure.layout.annotations
    assert (name.x, name.yref, name.y, name.yanchor) == (0, "paper", 0, "top") and figure.layout.margin.r == 12


def test_a_slide_says_each_sentence_once():
    claim = {"told": "This study has no key tokens.", "budget": "", "change": "This study has no key tokens. Run more.",
             "p": None}  # fmt: skip
    assert export.slide_text(claim, drawn=True) == "This study has no key tokens. Run more."
    judged = {
        "told": "Post-CoT, in points: +4.2.",
        "budget": "It says the same.",
        "change": "It hangs on one.",
        "p": 0.1,
    }
    assert export.slide_text(judged, drawn=True) == "It says the same. It hangs on one."
    assert export.slide_text(judged, drawn=False) == "Post-CoT, in points: +4.2. It says the same. It hangs on one."


def test_panels_stand_one_below_the_other():
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=3, shared_yaxes=True, subplot_titles=["a", "b", "c"])
    figure.update_layout(margin_r=200, height=440)
    fitted = narrow.fitted(figure, 350)
    domains = [fitted.layout[f"yaxis{number}"].domain for number in ("", "2", "3")]
    assert [tuple(round(end, 3) for end in domain) for domain in domains] == [
        (0.742, 0.925),
        (0.408, 0.592),
        (0.075, 0.258),
    ]
    assert fitted.layout.xaxis3.domain == (0, 1) and fitted.layout.height == 90 + 900
