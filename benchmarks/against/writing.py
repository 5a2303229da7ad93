"""Pre-CoT scoring, the rationale written greedily and then the choices scored after it: ours against transformers, batch 16, key-value caches on
both sides. The peer writes with `generate` and scores by one forward pass over each choice behind its prompt; the rationales are also timed alone.

    python benchmarks/against/writing.py [--repeats 5]

Students have random weights, so none ends early: both sides write every token that they may. The same tokens and scores have to come out.
"""

from __future__ import annotations

import numpy as np
import torch
from material import Material, begin, material, student
from paired import Apart, compare, repeats_asked
from transformers import GPT2LMHeadModel

from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import score
from cotdistill.students.scoring.generation import greedy
from cotdistill.tasks.example import Example

LIMIT, BATCH, AIM = 48, 16, 5.0
SIZES = ((64, 2, 96), (256, 4, 48))
LARGEST_GAP = 1e-5


def generated(model: GPT2LMHeadModel, prompts: list[list[int]], pad: int, tokens: int) -> list[list[int]]:
    """So many tokens after each prompt."""
    found = []
    for start in range(0, len(prompts), BATCH):
        asked = prompts[start : start + BATCH]
        width = max(map(len, asked))
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in asked])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in asked])
        told = model.generate(
            ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=pad, eos_token_id=pad
        )
        found += told[:, width:].tolist()
    return found


@torch.no_grad()
def likelihoods(model: GPT2LMHeadModel, pairs: list[tuple[list[int], list[int]]], pad: int) -> list[float]:
    """The log-likelihood of each continuation after its prompt, longest rows first, as the harness orders them."""
    found = [0.0] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda i: -sum(map(len, pairs[i])))
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        rows = [[*pairs[i][0], *pairs[i][1]] for i in members]
        width = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        logits = model(ids, attention_mask=mask).logits
        for r, i in enumerate(members):
            prompt, continuation = pairs[i]
            at = torch.log_softmax(logits[r, len(prompt) - 1 : len(rows[r]) - 1], -1)
            found[i] = float(at.gather(1, torch.tensor(continuation)[:, None]).sum())
    return found


class Sides:
    """Both sides on the same student and questions."""

    def __init__(self, given: Material, model: GPT2LMHeadModel, examples: list[Example]) -> None:
        self.given, self.model, self.examples = given, model, examples
        self.placement = PLACEMENTS.get("pre_cot")
        self.specials, self.stop = given.encoder.specials, given.encoder.label_cue
        self.prompts = [given.encoder.prompt(example, self.placement.prompt("own")) for example in examples]
        self.targets = [given.encoder.targets(example) for example in examples]

    def ours_written(self) -> list[list[int]]:
        reader = Forward(self.model)
        told = greedy(
            reader, self.prompts, self.stop, limit=LIMIT, after=1, pad=self.specials.pad, eos=self.specials.eos
        )
        return [one.ids for one in told]

    def peers_written(self) -> list[list[int]]:
        # Where no cue has come by then, ours looks for one in as many tokens more as the cue is long.
        return [ids[:LIMIT] for ids in generated(self.model, self.prompts, self.specials.pad, LIMIT + len(self.stop))]

    def ours_scored(self) -> np.ndarray:
        told = score(self.model, self.given.encoder, self.examples, self.placement, "own", metric="sum", limit=LIMIT)
        return np.array([one.sums for one in told])

    def peers_scored(self) -> np.ndarray:
        asked = [[*prompt, *ids, *self.stop] for prompt, ids in zip(self.prompts, self.peers_written(), strict=True)]
        pairs = [
            (prompt, list(choice)) for prompt, choices in zip(asked, self.targets, strict=True) for choice in choices
        ]
        return np.array(likelihoods(self.model, pairs, self.specials.pad)).reshape(len(asked), -1)


def main() -> None:
    repeats, own = repeats_asked(__doc__), Apart(begin)
    given = material()
    for width, layers, count in SIZES:
        sides = Sides(given, student(width, layers).eval(), given.dev[:count])
        mine, theirs = own(sides.ours_written), sides.peers_written()
        differ = sum(a != b for a, b in zip(mine, theirs, strict=True))
        assert not differ, f"{differ} of {count} rationales differ."
        scores, others = own(sides.ours_scored), sides.peers_scored()
        apart = float((np.abs(scores - others) / np.abs(others)).max())
        assert apart < LARGEST_GAP, f"The scores of both sides differ by {apart}."
        size, wrote = (
            f"{given.name}, width {width} x {layers} layers",
            f"{count} rationales of {LIMIT} tokens are the same",
        )

        def act(side, units: float):  # type: ignore[no-untyped-def]
            def timed() -> float:
                side()
                return units

            return timed

        compare(
            f"pre-CoT scoring, rationale and then choices, {size}", "transformers generate and forward",
            act(sides.ours_scored, float(count)), act(sides.peers_scored, float(count)),
            unit="questions/s", same=f"{wrote}, {scores.size} scores agree to {apart:.0e}", aim=AIM, repeats=repeats, apart=own,
        )  # fmt: skip
        written = float(sum(map(len, mine)))
        compare(
            f"of these the rationales alone, {size}", "transformers generate", act(sides.ours_written, written), act(sides.peers_written, written),
            unit="tokens/s", same=wrote, aim=AIM, repeats=repeats, apart=own,
        )  # fmt: skip


if __name__ == "__main__":
    main()
