"""Rationales written greedily, as pre-CoT scoring needs them: ours against `generate` of transformers, batch 16, key-value caches on both sides.

    python benchmarks/against/writing.py [--repeats 5]

Students have random weights, so none ends early: both sides write every token that they may. The same tokens have to come out.
"""

from __future__ import annotations

import torch
from material import material, student
from paired import compare, repeats_asked
from transformers import GPT2LMHeadModel

from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.students.generation import greedy
from cotdistill.students.reader import Reader

LIMIT, BATCH, AIM = 48, 16, 5.0
SIZES = ((64, 2, 96), (256, 4, 48))


def peer(model: GPT2LMHeadModel, prompts: list[list[int]], pad: int, tokens: int) -> list[list[int]]:
    found = []
    for start in range(0, len(prompts), BATCH):
        asked = prompts[start : start + BATCH]
        width = max(map(len, asked))
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in asked])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in asked])
        told = model.generate(ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=pad, eos_token_id=pad)
        found += told[:, width:].tolist()
    return found


def main() -> None:
    repeats = repeats_asked(__doc__)
    given = material()
    specials = given.encoder.specials
    for width, layers, count in SIZES:
        model = student(width, layers).eval()
        reader = Reader(model)
        prompts = [given.encoder.prompt(example, PLACEMENTS.get("pre_cot").prompt("own")) for example in given.dev[:count]]
        stop = given.encoder.label_cue

        def act_ours(reader=reader, prompts=prompts, stop=stop) -> list[list[int]]:  # type: ignore[no-untyped-def]
            return [w.ids for w in greedy(reader, prompts, stop, limit=LIMIT, after=1, pad=specials.pad, eos=specials.eos)]

        def act_peer(model=model, prompts=prompts, stop=stop) -> list[list[int]]:  # type: ignore[no-untyped-def]
            # Where no cue has come by then, ours looks for one in as many tokens more as the cue is long.
            return [ids[:LIMIT] for ids in peer(model, prompts, specials.pad, LIMIT + len(stop))]

        mine, theirs = act_ours(), act_peer()
        differ = sum(a != b for a, b in zip(mine, theirs, strict=True))
        assert not differ, f"{differ} of {count} rationales differ."
        written = float(sum(map(len, mine)))

        def timed_ours(act=act_ours, written=written) -> float:  # type: ignore[no-untyped-def]
            act()
            return written

        def timed_peer(act=act_peer, written=written) -> float:  # type: ignore[no-untyped-def]
            act()
            return written

        what = f"rationales written, {given.name}, width {width} x {layers} layers"
        same = f"{count} rationales of {LIMIT} tokens are the same"
        compare(what, "transformers generate", timed_ours, timed_peer, unit="tokens/s", same=same, aim=AIM, repeats=repeats)


if __name__ == "__main__":
    main()
