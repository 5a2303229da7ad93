"""How memory grows with the work: the peak above the level after import, each in a fresh process.

    python benchmarks/against/growth.py [--repeats 5]

Training with batches of 8 to 32 for 3 and for 12 steps; integrated gradients of 16 to 128 examples. Repeats are ignored: a peak is what it is.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from paired import Measure, repeats_asked, tell

BATCHES, EXAMPLES = (8, 16, 32), (16, 64, 128)
WIDTH, LAYERS = 256, 4


def peak() -> float:
    """Megabytes of resident memory at its highest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def trained(batch: int, steps: int) -> None:
    import dataclasses

    from material import begin, material, student
    from training import config, prepared

    from cotdistill.students.training import Hooks, train

    given = material()
    begin()
    settings = dataclasses.replace(config(steps), batch_size=batch)
    made, model, before = prepared(given, settings), student(WIDTH, LAYERS), peak()
    train(
        model,
        made.training_set.rows,
        made.stream,
        settings,
        steps=steps,
        pad=given.encoder.specials.pad,
        hooks=Hooks(lambda log, values: None),
    )
    print(json.dumps(peak() - before))


def attributed(count: int, _: int) -> None:
    import numpy as np
    from material import begin, material, student

    from cotdistill.rationales.placement import PLACEMENTS
    from cotdistill.saliency.attribution import attribute
    from cotdistill.saliency.settings import AttributionSettings

    given, model = material(), student(64, 2)
    begin()
    settings, before = AttributionSettings(baseline="pad", steps=32, most_steps=32), peak()
    counts = np.ones(given.encoder.vocabulary_size, np.int64)
    attribute(model, given.encoder, given.dev[:count], PLACEMENTS.get("label_only"), settings, counts)
    print(json.dumps(peak() - before))


def asked(what: str, first: int, second: int) -> float:
    """The figure of a fresh process."""
    words = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), what, str(first), str(second)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    repeats_asked(__doc__)
    few, many = ([asked("train", batch, steps) for batch in BATCHES] for steps in (3, 12))
    told = [" / ".join(f"{value:,.0f}" for value in values) for values in (few, many)]
    batches = " / ".join(map(str, BATCHES))
    growth = few[-1] / few[0]
    figure = f"{told[0]} MB after 3 steps, {told[1]} MB after 12: {growth:.1f} x for 4 x the work"
    tell(
        Measure(
            f"memory of training, width {WIDTH} x {LAYERS} layers, batch {batches}",
            figure,
            "no faster than the work",
            growth <= 4,
        )
    )
    found = [asked("attribute", count, 0) for count in EXAMPLES]
    figure = f"{' / '.join(f'{value:,.0f}' for value in found)} MB: {found[-1] / found[0]:.1f} x for {EXAMPLES[-1] // EXAMPLES[0]} x the work"
    what = f"memory of integrated gradients, width 64 x 2 layers, {' / '.join(map(str, EXAMPLES))} examples"
    tell(Measure(what, figure, "no faster than the work", found[-1] / found[0] <= EXAMPLES[-1] / EXAMPLES[0]))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        {"train": trained, "attribute": attributed}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
