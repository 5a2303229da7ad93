"""Adapters beside frozen weights: trained, kept alone, opened again beside their base, merged. Needs peft, an optional extra."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import PreTrainedModel

from cotdistill.config import StudentConfig, TrainingConfig
from cotdistill.errors import CheckpointError, StudentError
from cotdistill.execution.open_student import open_run
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.store.store import Store
from cotdistill.students import lora
from cotdistill.students.batches import Stream, weighted
from cotdistill.students.files import check_lora, checked_student
from cotdistill.students.loading import (
    load_student,
    parameter_count,
    prepare_torch,
    reopen,
    save_weights,
    set_weights,
    weights,
)
from cotdistill.students.memory import adapters, of_folder
from cotdistill.students.scoring.evaluation import score
from cotdistill.students.tokens import Encoder
from cotdistill.students.training import Hooks, Log, train
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.template import Template
from tests.test_architectures import EXAMPLES, TEXTS
from tests.tiny_students import build

HERE = find_spec("peft") is not None
needs_peft = pytest.mark.skipif(not HERE, reason="peft is not installed: make test-extras")
# By architecture, the matrices that "all" adapts.
MATRICES = {
    "gpt2": {"c_attn", "c_proj", "c_fc"},
    "phi": {"q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"},
    "gemma": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "opt": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
    "qwen2": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "gpt_neox": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
}


class Stop(Exception):
    pass


@dataclass(frozen=True)
class Adapted:
    config: StudentConfig
    encoder: Encoder
    model: PreTrainedModel
    log: Log

    def scores(self, model: PreTrainedModel) -> list[float]:
        found = score(model, self.encoder, EXAMPLES[:4], PLACEMENTS.get("label_only"), "direct", metric="sum", limit=1)
        return [value for one in found for value in one.sums]


def trained(
    config: StudentConfig, training: TrainingConfig, *, hooks: Hooks | None = None, resume: Path | None = None
) -> Adapted:
    prepare_torch(1, False)
    encoder = Encoder(Path(config.name) / "tokenizer.json", Template())
    model = load_student(config, encoder.vocabulary_size, 0)
    corpus = encoder.corpus(EXAMPLES)
    rows = [weighted(encoder.sequences(corpus, i, parse("post_cot"), 0), training) for i in range(len(EXAMPLES))]
    stream = Stream([len(row[0].ids) for row in rows], training.batch_size, seed=0)
    hooks = hooks or Hooks(lambda log, values: None)
    log = train(
        model,
        lambda i, e: rows[i],
        stream,
        training,
        steps=training.steps,
        pad=encoder.specials.pad,
        hooks=hooks,
        resume=resume,
    )
    return Adapted(config, encoder, model, log)


STEPS = TrainingConfig(steps=16, batch_size=6, evaluations=0, lr=3e-2)


@pytest.fixture(scope="module", params=MATRICES)
def adapted(request, tmp_path_factory) -> Adapted:
    folder = build(tmp_path_factory.mktemp("student"), request.param, TEXTS)
    return trained(StudentConfig(name=str(folder), lora_rank=4, lora_alpha=8.0), STEPS)


@pytest.mark.extras
@needs_peft
def test_only_adapters_are_trained_and_the_loss_falls(adapted, request):
    names = {name for name, p in adapted.model.named_parameters() if p.requires_grad}
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names} == MATRICES[
        request.node.callspec.params["adapted"]
    ]
    base = load_student(StudentConfig(name=adapted.config.name), adapted.encoder.vocabulary_size, 0)
    kept = dict(adapted.model.named_parameters())
    assert all(torch.equal(p, kept[name if name in kept else _beside(name)]) for name, p in base.named_parameters())
    assert parameter_count(adapted.model) == parameter_count(base) + parameter_count(adapted.model, trained=True)
    assert parameter_count(adapted.model, trained=True) == adapters(of_folder(Path(adapted.config.name)), 4).numbers
    losses = [value for _, _, _, name, value in adapted.log.curve if name == "loss"]
    assert losses[-1] < 0.95 * losses[0], losses


def _beside(name: str) -> str:
    """The name of a weight whose matrix has got adapters."""
    owner, _, own = name.rpartition(".")
    return f"{owner}.base_layer.{own}"


@pytest.mark.extras
@needs_peft
def test_the_artefact_holds_the_adapters_alone_and_names_their_base(adapted, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(adapted.model, path, adapted.config)
    held = safetensors.torch.load_file(path)
    assert sum(t.numel() for t in held.values()) == parameter_count(adapted.model, trained=True)
    assert all(
        name.startswith("base_model.model.") and name.endswith((".lora_A.weight", ".lora_B.weight")) for name in held
    )
    with safetensors.safe_open(path, "pt") as file:
        told = file.metadata()
    assert told["base"] == adapted.config.name and len(told["fingerprint"]) == 64
    assert json.loads(told["lora"])["lora_rank"] == 4
    again = reopen(adapted.config, adapted.encoder.vocabulary_size, 7, path)
    assert adapted.scores(again) == pytest.approx(adapted.scores(adapted.model), abs=1e-6)


@pytest.mark.extras
@needs_peft
def test_merged_scores_equal_unmerged_ones_and_the_merged_student_is_like_any_other(adapted, tmp_path):
    again = load_student(adapted.config, adapted.encoder.vocabulary_size, 0).eval()
    fresh = adapted.scores(again)
    set_weights(again, weights(adapted.model))
    unmerged = adapted.scores(again)
    assert np.abs(np.array(unmerged) - fresh).max() > 0.1
    lora.merge(again)
    assert adapted.scores(again) == pytest.approx(unmerged, abs=1e-5)
    again.save_pretrained(tmp_path)
    assert not [p.name for p in tmp_path.iterdir() if "adapter" in p.name]
    plain = load_student(StudentConfig(name=str(tmp_path)), adapted.encoder.vocabulary_size, 0)
    assert not lora.is_adapted(plain)
    assert adapted.scores(plain) == pytest.approx(unmerged, abs=1e-5)


@pytest.fixture
def folder(tmp_path) -> Path:
    return build(tmp_path / "student", "llama", TEXTS, max_position_embeddings=512)


@pytest.mark.extras
@needs_peft
def test_adapters_are_refused_beside_a_base_that_has_changed(folder, tmp_path):
    config = StudentConfig(name=str(folder), lora_rank=2, lora_targets="q_proj, v_proj")
    one = trained(config, replace(STEPS, steps=1))
    path = tmp_path / "w.safetensors"
    save_weights(one.model, path, config)
    with pytest.raises(CheckpointError):
        reopen(replace(config, lora_rank=3), one.encoder.vocabulary_size, 0, path)
    build(folder, "llama", TEXTS, seed=1)
    with pytest.raises(CheckpointError, match="now it is"):
        reopen(config, one.encoder.vocabulary_size, 0, path)


@pytest.mark.extras
@needs_peft
def test_a_matrix_that_does_not_exist_is_answered_with_those_that_do(folder):
    with pytest.raises(StudentError) as error:
        trained(StudentConfig(name=str(folder), lora_rank=2, lora_targets="c_attn"), STEPS)
    assert "c_attn" in error.value.message and "q_proj" in error.value.hint


@pytest.mark.extras
@needs_peft
def test_a_run_with_dropout_that_was_stopped_ends_with_the_same_adapters(folder, tmp_path):
    config = StudentConfig(name=str(folder), lora_rank=2, lora_dropout=0.2)
    whole = weights(trained(config, STEPS).model)

    def stop(log: Log, values: dict[str, float]) -> None:
        if log.step == 5:
            raise Stop

    with pytest.raises(Stop):
        trained(config, STEPS, hooks=Hooks(stop), resume=tmp_path / "r.safetensors")
    held = safetensors.torch.load_file(tmp_path / "r.safetensors")
    assert all(".lora_" in name for name in held if name.startswith("model."))
    resumed = weights(trained(config, STEPS, resume=tmp_path / "r.safetensors").model)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.extras
@needs_peft
def test_adapters_stay_in_full_precision_beside_weights_in_bf16(folder):
    model = load_student(StudentConfig(name=str(folder), lora_rank=2, dtype="bf16"), 1, 0)
    kinds = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


@pytest.mark.extras
@needs_peft
def test_a_study_with_adapters_is_trained_opened_and_looked_into(folder, tmp_path):
    from cotdistill.execution.open_student import training_corpus
    from cotdistill.rationales.placement import SEGMENTS
    from cotdistill.saliency.influence import Aligner
    from cotdistill.students.tokens import RATIONALE

    store = Store.open(tmp_path / "store")
    spec = study_spec(
        None,
        {
            "task_settings": {"creatures": 24, "documents": 10, "wordings": 1}, "conditions": "label_only,pre_cot,post_cot", "replicates": 1,
            "student": {"name": str(folder), "lora_rank": 4},
            "training": {"steps": 3, "batch_size": 4, "evaluations": 1, "dev_examples": 4},
        },
    )  # fmt: skip
    planned = plan(store, spec)
    assert [str(run.condition) for run in planned.runs] == ["undistilled", "label_only", "pre_cot", "post_cot"]
    launch(store, planned)
    work(store)
    jobs = {str(job.config["condition"]): job for job in store.queue.jobs(kind="train")}
    assert {job.state for job in jobs.values()} == {"finished"}, [job.error for job in jobs.values()]
    result = jobs["post_cot"].result
    assert result["trained_parameters"] < 0.2 * result["parameters"] and len(result["student_fingerprint"]) == 64
    opened = open_run(store, jobs["post_cot"].id)
    corpus = training_corpus(opened)
    example, (sequence,) = corpus.examples[0], opened.encoder.sequences(corpus, 0, opened.condition, 0)
    aligner = Aligner(
        opened.model, opened.encoder, opened.condition.spec, opened.task.examples("dev"), metric=opened.metric
    )
    assert aligner.names and all(".lora_" in name for name in aligner.names)
    told = aligner.align(example, sequence)
    assert len(told.columns) == int(
        ((sequence.segments == SEGMENTS.index("rationale")) & (sequence.loss == RATIONALE)).sum()
    )
    assert np.isfinite(told.raw[0]).all() and np.abs(told.raw[0]).max() > 0


@pytest.mark.skipif(HERE, reason="peft is installed")
def test_without_peft_the_way_to_it_is_told_before_anything_is_queued(folder, tmp_path):
    store = Store.open(tmp_path / "store")
    with pytest.raises(StudentError) as error:
        plan(store, study_spec(None, {"conditions": "label_only", "student": {"name": str(folder), "lora_rank": 4}}))
    assert "requirements-lora.txt" in error.value.hint and "lora_rank" in error.value.hint
    assert store.queue.jobs() == []


def test_adapters_beside_a_student_from_scratch_or_new_rows_are_refused():
    with pytest.raises(StudentError, match="from scratch"):
        check_lora(StudentConfig(name="nano", lora_rank=4))
    with pytest.raises(StudentError, match="resize"):
        check_lora(StudentConfig(name="owner/name", lora_rank=4, resize=True))


def test_settings_of_adapters_make_no_difference_without_adapters(folder):
    one, other = (
        checked_student(StudentConfig(name=str(folder), **more))
        for more in ({}, {"lora_alpha": 3.0, "lora_targets": "q_proj"})
    )
    assert one == other
