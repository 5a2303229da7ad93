"""Configs: plain values in, every problem told at once, one text for one value."""

from dataclasses import replace

import pytest

from cotdistill.config import (
    RECIPES,
    RunConfig,
    Seeds,
    StudentConfig,
    TrainingConfig,
    canonical_json,
    digest,
    from_mapping,
    hashed,
    plain,
    stable_seed,
)
from cotdistill.errors import ConfigError, UnknownName
from cotdistill.store.records import identity_of
from cotdistill.studies.spec import plan_hash_of, spec_from_mapping, starter


def test_every_problem_is_told_at_once():
    with pytest.raises(ConfigError) as error:
        from_mapping(TrainingConfig, {"steps": -1, "loss": "x", "lr": "fast", "redraw": 1})
    assert [p.split(" ")[0] for p in error.value.problems] == ["steps", "lr", "loss", "redraw"]


def test_a_first_replicate_that_is_no_number_is_a_problem_like_any_other():
    with pytest.raises(ConfigError) as error:
        spec_from_mapping({"name": "s", "first_replicate": ""})
    assert any("first_replicate" in problem for problem in error.value.problems)


def test_an_unknown_setting_is_answered_with_the_nearest():
    with pytest.raises(UnknownName) as error:
        from_mapping(TrainingConfig, {"step": 3})
    assert "steps" in error.value.near


def test_a_whole_number_and_yamls_way_of_small_numbers_may_stand_for_a_float():
    assert from_mapping(TrainingConfig, {"lr": 1}).lr == 1.0
    assert from_mapping(TrainingConfig, {"lr": "4e-3"}).lr == 4e-3


def test_the_digest_depends_on_values_and_not_on_the_order_of_keys():
    assert digest({"a": 1, "b": (1, 2)}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


def test_a_run_reads_back_from_its_plain_form():
    run = RunConfig("task", "d", "post_cot", sources=("a", "b"), seeds=Seeds.of_replicate(2, {"world": 0}))
    assert RunConfig.from_plain(plain(run)) == run
    assert run.seeds.world == 0 and run.seeds.order == 2


def test_a_stable_seed_is_the_same_everywhere():
    assert stable_seed("order", 0, 1) == stable_seed("order", 0, 1) != stable_seed("order", 1, 0)
    assert 0 <= stable_seed("x") < 2**63


def test_identities_of_runs_and_plans_stay_what_they_were(monkeypatch):
    """Recorded before there were adapters, dtypes and the rest: a store's runs are found again for ever."""
    for name in ("STEPS", "BASE_STEPS", "REPLICATES"):
        monkeypatch.delenv(f"COTDISTILL_STARTER_{name}", raising=False)
    assert RECIPES["train"] == 1
    run = RunConfig("field_guide", "d" * 64, "post_cot", {}, "mixed", ("mixed",), base="b" * 64)
    assert (
        identity_of("train", 1, run.job_config()) == "2811da525c3250edc9e2cca2926606450f39f7032e4284307271f2bac9379469"
    )
    # The starter study as it was then: three replicates, and one condition more.
    *first, last = starter().conditions
    then = replace(starter(), replicates=3, conditions=(*first, "pre_cot@source=answer_first_long", last))
    assert plan_hash_of(plain(then)) == "b990190f201ec80c672c4291617d8de9f891e98a26a8cc3b4e9fea42d201ada9"


def test_a_setting_that_came_later_is_hashed_once_it_is_used():
    assert "lora_rank" not in hashed(StudentConfig, plain(StudentConfig()))
    assert hashed(StudentConfig, plain(StudentConfig(lora_rank=4)))["lora_rank"] == 4
    one, other = (
        RunConfig("t", "d", "post_cot", training=TrainingConfig(gradient_checkpointing=on)).job_config()
        for on in (False, True)
    )
    assert digest(one) != digest(other)
    assert RunConfig.from_plain(one).training == TrainingConfig()
