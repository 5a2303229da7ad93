"""Attention concentration on attention made by hand, and on tiny real students of several architectures."""

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM

from cotdistill.errors import NotReadable, StudentError
from cotdistill.execution.jobs.attention import _rows
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.report.figures import attention
from cotdistill.report.figures.attention import Attended
from cotdistill.saliency.attention import attention_rows, regions, shares
from cotdistill.saliency.reading import read_example
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.students.tokens import Encoder
from cotdistill.studies.analyses.attention import COLUMNS
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.template import Template
from tests.conftest import example
from tests.tiny_students import build

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=96)
RATIONALE = "it has wings . it lives in the tree ."


def reading(encoder, placement, rationale=RATIONALE):
    return read_example(encoder, example("e1", "bird", "tree", rationale), PLACEMENTS.get(placement))


def test_a_text_is_found_by_whole_words_however_they_are_tokenised(tmp_path):
    # Merges make "wood" one token with and without its space; "woodpecker" begins with the same one.
    merges = [("w", "o"), ("wo", "o"), ("woo", "d"), ("Ġ", "wood")]
    known = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate(known)}, merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<eos>")])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = Encoder(tmp_path / "tokenizer.json", Template(choices="\n{choices}", choice="({text})"))
    told = Example(
        "e",
        "what?",
        (Choice("A", "wood"), Choice("B", "woodpecker")),
        "A",
        "train",
        "Wood floats. A woodpecker, not (wood) or wood.",
    )
    one = read_example(encoder, told, PLACEMENTS.get("pre_cot"))
    mask = regions(one, {"gold": ["wood"]})["gold"]
    assert "".join(one.pieces[c] for c in np.flatnonzero(mask)) == "wood Woodwood wood"
    # An answer of several words, and one that stands nowhere.
    assert regions(one, {"gold": ["or wood"]})["gold"].sum() == 4 and "gold" not in regions(one, {"gold": ["pecker"]})


def test_regions_are_the_columns_before_the_answer(encoder):
    words = {"gold": ["tree"], "latent": ["wings"], "subject": ["bird"]}
    told = {}
    for placement in ("pre_cot", "post_cot"):
        one = reading(encoder, placement)
        found = regions(one, words)
        told[placement] = {name: [one.pieces[c].strip() for c in np.flatnonzero(mask)] for name, mask in found.items()}
        assert all(len(mask) == one.label_at for mask in found.values())
    assert (
        told["pre_cot"]["gold"] == ["tree", "tree"]
        and told["pre_cot"]["latent"] == ["wings"]
        and told["pre_cot"]["subject"] == ["bird"]
    )
    assert told["pre_cot"]["relevant"] == ["bird", "tree", "wings", "tree"]
    # Behind a label no rationale can be attended to.
    assert told["post_cot"]["relevant"] == ["bird", "tree"] and not {"latent", "rationale"} & set(told["post_cot"])
    with pytest.raises(NotReadable):
        regions(
            read_example(
                encoder, example("e", "bird", "tree", RATIONALE), PLACEMENTS.get("multitask"), sequence="rationale"
            ),
            words,
        )


def test_shares_and_their_intervals_by_hand():
    # Two examples, one layer of two heads, four and two tokens that can be seen.
    rows = [np.array([[[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]]), np.array([[[0.5, 0.5], [0.9, 0.1]]])]
    share, uniform = shares(rows, [np.array([True, False, False, True]), np.array([True, False])])
    assert share == pytest.approx(np.array([[[0.5, 0.8]], [[0.5, 0.9]]])) and uniform.tolist() == [0.5, 0.5]
    table = _rows("gold", share, uniform, ["a", "b"])
    assert [(r["layer"], r["head"]) for r in table] == [(-1, -1), (1, -1), (1, 1), (1, 2)] and all(
        set(r) == set(COLUMNS) for r in table
    )
    assert [r["share"] for r in table] == pytest.approx([0.675, 0.675, 0.5, 0.85]) and [
        r["over"] for r in table
    ] == pytest.approx([0.175, 0.175, 0.0, 0.35])
    # Two clusters: the mean of .8 and .9, with half their difference as its standard error, times t at one degree of freedom.
    assert table[3]["low"] == pytest.approx(0.85 - 12.706 * 0.05, abs=1e-3)
    assert _rows("gold", share[:1], uniform[:1], ["a"])[0]["low"] is None


def test_rows_are_the_attention_of_each_sequence_alone_and_the_kernel_is_put_back(encoder, words):
    model = new_built_in(TINY, len(words), seed=3)
    before = model.config._attn_implementation
    rows = [reading(encoder, "post_cot"), reading(encoder, "pre_cot"), reading(encoder, "pre_cot", "it has wings .")]
    found = attention_rows(model, rows, pad=0)
    assert model.config._attn_implementation == before
    model.set_attn_implementation("eager")
    for row, mine in zip(rows, found, strict=True):
        n = row.label_at
        assert mine.shape == (2, 2, n) and mine.sum(-1) == pytest.approx(np.ones((2, 2)), abs=1e-5)
        with torch.no_grad():
            alone = model.base_model(
                input_ids=torch.from_numpy(row.ids[:n].astype(np.int64))[None], output_attentions=True
            ).attentions
        assert mine == pytest.approx(torch.stack(alone)[:, 0, :, n - 1].numpy(), abs=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt_neo", "mamba"])
def test_other_architectures_are_read_or_refused_in_words(name, encoder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(build(tmp_path, name, ["a bird lives in the tree ."])).eval()
    row = reading(encoder, "post_cot")
    if name == "mamba":
        with pytest.raises(StudentError, match="does not hand out its attention"):
            attention_rows(model, [row], 0)
    else:
        (found,) = attention_rows(model, [row], 0)
        assert found.shape == (2, 2, row.label_at) and found.sum(-1) == pytest.approx(np.ones((2, 2)), abs=1e-4)


def test_the_map_has_a_column_a_head_and_the_mean_behind_them():
    cells = [
        r
        for r in _rows("gold", np.array([[[0.5, 0.8]], [[0.5, 0.9]]]), np.array([0.5, 0.5]), ["a", "b"])
        if r["layer"] > 0
    ]
    figure = attention.heat([Attended("post_cot", "post-CoT", 1, 2, cells)], "title")
    assert np.array(figure.data[0].z) == pytest.approx(np.array([[0.0, 35.0, 17.5]]))
    texts = [a.text for a in figure.layout.annotations]
    assert {"50", "85", "<b>68</b>"} <= set(texts) and any("by its length 50.0 %" in text for text in texts)
    assert "layer 1, head 2: 85.0 %" in figure.data[0].text[0][1]
