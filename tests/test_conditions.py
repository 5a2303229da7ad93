"""The grammar of conditions: one text for terminal, YAML, URL and store."""

import pytest

from cotdistill.errors import ConfigError, GrammarError, UnknownName
from cotdistill.rationales.conditions import PRESETS, parse, parse_list
from cotdistill.rationales.transforms import TRANSFORMS


def test_a_condition_is_written_with_all_its_parameters_and_reads_back_as_itself():
    condition = parse("post_cot/shuffle")
    assert str(condition) == "post_cot/shuffle(unit=token,fraction=1.0)"
    assert parse(str(condition)) == condition


def test_identity_leaves_no_trace_so_the_same_run_has_one_name():
    assert str(parse("post_cot/identity")) == "post_cot"


def test_transforms_are_applied_in_the_order_they_are_written():
    assert [step.name for step in parse("post_cot/strip_labels/shuffle(unit=word)").steps] == [
        "strip_labels",
        "shuffle",
    ]


@pytest.mark.parametrize("preset", PRESETS.names())
def test_every_preset_is_a_condition_that_reads_back(preset):
    assert str(parse(preset)) == str(parse(PRESETS.get(preset).condition))


@pytest.mark.parametrize("name", [n for n in TRANSFORMS.names() if n != "identity"])
def test_every_transform_can_stand_after_every_placement_with_a_rationale(name):
    for placement in ("pre_cot", "post_cot", "multitask"):
        condition = parse(f"{placement}/{name}")
        assert parse(str(condition)) == condition
        assert condition.label


def test_options_follow_an_at_sign_and_a_budget_may_name_any_condition():
    condition = parse("label_only@tokens=post_cot/shuffle(unit=word,fraction=0.5)")
    assert condition.tokens == "post_cot/shuffle(unit=word,fraction=0.5)"
    nested = parse("label_only@tokens=(post_cot@source=other)")
    assert nested.tokens == "post_cot@source=other"
    assert parse(str(nested)) == nested


def test_a_list_is_cut_at_commas_that_stand_outside_brackets_and_options():
    texts = [
        str(c)
        for c in parse_list(
            "label_only, shuffled, post_cot@source=a,tokens=pre_cot, post_cot/mask(fraction=0.5,unit=word)"
        )
    ]
    assert texts == [
        "label_only",
        "post_cot/shuffle(unit=token,fraction=1.0)",
        "post_cot@source=a,tokens=pre_cot",
        "post_cot/mask(fraction=0.5,unit=word,symbol=_,loss=auto)",
    ]


def test_a_misspelt_name_is_answered_with_the_nearest_one():
    with pytest.raises(UnknownName) as error:
        parse("shufled")
    assert "shuffled" in error.value.near


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("post_cot/shuffle(unit=char)", "token, word, sentence"),
        ("post_cot/mask(fraction=2)", "0 to 1"),
        ("post_cot/mask(fraction=nan)", "0 to 1"),
        ("post_cot/mask(fraction=half)", "not a number"),
        ("post_cot/shuffle(unit)", "name=value"),
        ("post_cot/shuffle(unit=word", "not closed"),
        ("post_cot)", "not opened"),
        ("label_only/shuffle", "no rationale"),
        ("post_cot@source=a@tokens=b", "two @"),
        ("label_only@tokens=(label_only@tokens=post_cot)", "token budget itself"),
        ("post_cot/shu ffle", "not a transform"),
    ],
)
def test_what_cannot_be_read_is_answered_with_what_was_expected(text, told):
    with pytest.raises(GrammarError) as error:
        parse(text)
    assert told in error.value.message


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(ConfigError):
        parse("post_cot/shuffle(unit=word,unit=token)")


@pytest.mark.parametrize(
    ("text", "label"),
    [("post_cot/random_k(k=5)", "post-CoT, 5 words at random"), ("post_cot/random_k(k=1)", "post-CoT, 1 word at random"),
     ("post_cot/random_k(k=0.25,unit=token)", "post-CoT, 25% of the tokens at random")],
)  # fmt: skip
def test_words_kept_by_lot_are_named_by_their_number(text, label):
    assert parse(text).label == label
