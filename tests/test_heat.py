"""Heat maps of text: whatever the text holds, it is shown and never run, and what cannot be read is never drawn as nothing."""

import itertools
import math
import re
from html.parser import HTMLParser

import pytest

from cotdistill.report import explanation, heat
from cotdistill.report.figures import palette
from tests.test_views import contrast, seen_without_green

GROUNDS = {"light": ("#FFFFFF", "#1E2328"), "dark": ("#14171A", "#E7E6E2")}


def look(pieces, scores, segments=None, *, first=-1, last=-1, words=None, sentences=None, reason="", **more):
    n = len(pieces)
    segments = segments or ["question"] * n
    words = words or list(range(n))
    values = {"value": 1.0, "probabilities": (0.7, 0.3), "choices": ("cat", "dog"), "gold": 0, "predicted": 0, **more}
    return explanation.Explanation(
        pieces, segments, words, sentences or [0] * n, scores, first, last, not_readable=reason, **values
    )


def panel(one, unit="token"):
    return heat.Panel(
        "occlusion",
        explanation.marks(one, unit),
        heat.signed_scale(explanation.largest([one], unit)),
        explanation.masses(one),
    )


def drawn(one, unit="token", told=""):
    return heat.cards([heat.StudentCard("pre_cot", "pre-CoT, replicate 0", (), [panel(one, unit)], told)])


class Read(HTMLParser):
    """Tags, attributes and visible text, as a browser would take them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.titles, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.titles += [value for name, value in attrs if name == "title"]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def test_markup_in_a_token_is_shown_and_never_run():
    evil = ["<script>", "alert('x')", '" onmouseover="x', "</div>", "&amp;"]
    read = Read(drawn(look(evil, [1.0] * 5)))
    assert "script" not in read.tags and "alert('x')" in read.text
    assert "".join(evil) in read.text


def test_control_characters_are_made_visible_and_marks_of_direction_cannot_turn_the_page():
    assert heat.visible("a\x00b\x07\x1b[31m\x7f\x9b") == "a␀b␇␛[31m␡‹9B›"
    assert heat.visible("line\nnext\ttab") == "line↵\nnext⇥\ttab"
    assert heat.visible("\u202eevil\u2066\u2028\ufeff") == "‹202E›evil‹2066›‹2028›‹FEFF›"
    text = drawn(look(["\u202eabc", "\u200f", "\x1b"], [1.0, 2.0, 3.0]))
    assert not set(text) & set("\u202e\u200f\x1b")


def test_right_to_left_text_stands_in_a_block_of_its_own_direction():
    text = drawn(look(["שלום", " עולם", " and", " مرحبا"], [1.0, 0.5, 0.2, 0.1]))
    block = re.search(r'<div dir="auto"[^>]*unicode-bidi:isolate[^>]*>(.*?)</div>', text).group(1)
    assert Read(block).text == "שלום עולם and مرحبا"


def test_an_emoji_stays_whole_and_its_other_tokens_keep_a_place_to_point_at():
    family = "👩‍👩‍👧"
    read = Read(drawn(look([f" {family}", "", " x"], [1.0, 0.5, 0.1])))
    assert family in read.text and read.text.endswith(f"{family}· x")
    assert any("+0.50 nats" in title for title in read.titles)


def test_the_same_token_twice_keeps_two_scores():
    read = Read(drawn(look([" cat", " sat", " cat"], [2.0, -1.0, 0.5])))
    assert [t for t in read.titles if t.startswith("cat")] == ["cat: +2.00 nats", "cat: +0.50 nats"]


def test_two_thousand_tokens_are_drawn_in_a_megabyte():
    text = drawn(look([f" word{i}" for i in range(2000)], [math.sin(i) for i in range(2000)]))
    assert len(text) < 1_000_000
    assert len([t for t in Read(text).titles if t.startswith("word")]) == 2000


def test_an_example_without_a_rationale_has_no_block_for_one():
    text = drawn(look(["q", " x"], [1.0, 0.0], ["question", "label"], first=1, last=1))
    assert ">rationale<" not in text and "what is explained" in text


def test_a_rationale_behind_the_label_is_hatched_with_its_reason_and_has_no_score():
    nan = math.nan
    one = look(
        ["q", " x", " so", " what"],
        [1.0, nan, nan, nan],
        ["question", "label", "rationale", "rationale"],
        first=1,
        last=1,
        reason="it stands behind",
    )
    text = drawn(one, told="it stands behind")
    assert text.count("repeating-linear-gradient") == 2 and "it stands behind" in Read(text).text
    assert [t for t in Read(text).titles if t.startswith(("so", "what"))] == ["so: not readable", "what: not readable"]


def test_template_text_is_neither_coloured_nor_called_unreadable():
    nan = math.nan
    one = look(
        ["q", " answer", ":", " x"],
        [1.0, nan, nan, nan],
        ["question", "label_cue", "label_cue", "label"],
        first=3,
        last=3,
        reason="r",
    )
    assert [mark.state for mark in explanation.marks(one)] == ["", "template", "template", "target"]


def test_words_and_sentences_sum_their_tokens_and_keep_what_cannot_be_read_apart():
    nan = math.nan
    one = look(
        [" un", "like", "ly", " yes", " no"],
        [1.0, -0.25, 0.5, 2.0, nan],
        words=[0, 0, 0, 1, 2],
        sentences=[0, 0, 0, 0, 0],
    )
    by_word = explanation.marks(one, "word")
    assert [(m.text, m.score, m.members) for m in by_word[:2]] == [(" unlikely", 1.25, 3), (" yes", 2.0, 1)]
    assert math.isnan(by_word[2].score)
    by_sentence = explanation.marks(one, "sentence")
    assert [m.members for m in by_sentence] == [4, 1] and by_sentence[0].score == 3.25


def test_mass_is_shared_by_absolute_scores_and_leaves_out_what_has_none():
    one = look(
        list("abcde"),
        [3.0, -1.0, 2.0, math.nan, 100.0],
        ["question", "question", "rationale", "rationale", "label_cue"],
    )
    found = {m.segment: m for m in explanation.masses(one)}
    assert found["question"].share == pytest.approx(4 / 6) and found["question"].per_token == 2.0
    assert found["rationale"].share == pytest.approx(2 / 6) and found["rationale"].tokens == 1
    assert "label_cue" not in found


def test_a_scale_is_symmetric_linear_and_shared():
    scale = heat.signed_scale(explanation.largest([look(["a", "b"], [1.0, -4.0]), look(["c"], [2.0])], "token"))
    assert scale.limit == 4.0
    full, half = scale.background(-4.0), scale.background(2.0)
    assert full.startswith(scale.less) and half.startswith(scale.more)
    assert int(half[-2:], 16) == pytest.approx(int(full[-2:], 16) / 2, abs=1)
    assert scale.background(0.0).endswith("00")
    assert heat.signed_scale(0.0).background(0.0).endswith("00")


def laid(color, ground):
    """A colour with its opacity (#rrggbbaa) laid over a ground."""
    share = int(color[7:9], 16) / 255
    mixed = [
        round(255 * (share * top + (1 - share) * under))
        for top, under in zip(palette.channels(color[:7]), palette.channels(ground), strict=True)
    ]
    return "#" + "".join(f"{part:02x}" for part in mixed)


SCALES = (heat.signed_scale(1.0), heat.length_scale(1.0, "nats"), heat.alignment_scale(1.0, "nats"))


@pytest.mark.parametrize("ground", GROUNDS)
def test_text_reads_on_every_shade(ground):
    under, text = GROUNDS[ground]
    for scale, step in itertools.product(SCALES, range(-10, 11)):
        assert contrast(laid(scale.background(step / 10), under), text) >= 4.5, (scale, step)


@pytest.mark.parametrize("ground", GROUNDS)
def test_both_ends_of_a_scale_are_told_apart_without_seeing_green(ground):
    under, _ = GROUNDS[ground]
    for scale in (SCALES[0], SCALES[2]):
        ends = [seen_without_green(laid(scale.background(value), under)) for value in (-1.0, 1.0)]
        assert sum((a - b) ** 2 for a, b in zip(*ends, strict=True)) > 0.03


def test_the_legend_says_its_numbers():
    read = Read(heat.legend(heat.signed_scale(8.904), "blue speaks for it"))
    assert all(part in read.text for part in ("−8.90", "0", "+8.90", "blue speaks for it"))
    assert "not readable" in heat.key(("unreadable",)) and heat.key(()) == ""


def test_numbers_have_three_figures_of_the_scale():
    assert heat.number(-0.0123, heat.signed_scale(2.0)) == "−0.01"
    assert heat.number(0.0123, heat.signed_scale(0.05)) == "+0.0123"
    assert heat.number(12.3, heat.length_scale(340.0, "x")) == "12"
    assert heat.number(1e-9, heat.signed_scale(2e-9)) == "+1.00e-09"


def test_the_prediction_ticks_the_right_answer_and_escapes_the_choices():
    card = heat.StudentCard(
        "pre_cot", "pre-CoT", [heat.Bar("<b>cat", 0.7, True, False), heat.Bar("dog", 0.3, False, True)], []
    )
    read = Read(heat.cards([card]))
    assert "<b>cat✓70.0 %dog30.0 %" in read.text and "b" not in read.tags
