"""Label scoring, five choices a question: ours against lm-evaluation-harness (HFLM.loglikelihood, batch 16), from text to scores.

python benchmarks/against/scoring.py [--repeats 5]
"""

from __future__ import annotations

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from material import Material, begin, material, student
from paired import Apart, compare, repeats_asked

from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.students.scoring.evaluation import score
from cotdistill.tasks.example import Example

SIZES = ((64, 2, 96, 20.0), (256, 4, 48, 10.0))
LARGEST_GAP = 1e-5


def requests(given: Material, examples: list[Example]) -> list[Instance]:
    template = given.encoder.template
    found = []
    for example in examples:
        prompt = template.question_text(example) + template.choices_text(example) + template.label_cue
        for i, text in enumerate(template.target_texts(example)):
            found.append(Instance("loglikelihood", {}, (prompt, f" {text}"), i))
    return found


def main() -> None:
    repeats, own = repeats_asked(__doc__), Apart(begin)
    given = material()
    for width, layers, questions, aim in SIZES:
        model = student(width, layers).eval()
        examples = given.dev[:questions]
        harness = HFLM(pretrained=model, tokenizer=given.fast, batch_size=16, device="cpu", max_length=512)
        asked = requests(given, examples)

        def ours(model=model, examples=examples) -> np.ndarray:  # type: ignore[no-untyped-def]
            found = score(model, given.encoder, examples, PLACEMENTS.get("label_only"), "direct", metric="sum", limit=0)
            return np.array([p.sums for p in found])

        def peer(harness=harness, asked=asked) -> np.ndarray:  # type: ignore[no-untyped-def]
            return np.array([value for value, _ in harness.loglikelihood(asked, disable_tqdm=True)])

        mine, theirs = own(ours), peer().reshape(len(examples), -1)
        apart = float((np.abs(mine - theirs) / np.abs(theirs)).max())
        assert apart < LARGEST_GAP, f"The scores of both sides differ by {apart}."
        same = f"{mine.size} scores agree to {apart:.0e}"
        what = f"label scoring, {given.name}, width {width} x {layers} layers"

        def act_ours(ours=ours, n=questions) -> float:  # type: ignore[no-untyped-def]
            ours()
            return float(n)

        def act_peer(peer=peer, n=questions) -> float:  # type: ignore[no-untyped-def]
            peer()
            return float(n)

        compare(
            what,
            "lm-evaluation-harness",
            act_ours,
            act_peer,
            unit="questions/s",
            same=same,
            aim=aim,
            repeats=repeats,
            apart=own,
        )


if __name__ == "__main__":
    main()
