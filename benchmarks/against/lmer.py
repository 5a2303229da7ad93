"""The interval that verdicts rest on against lmerTest, where R is installed: estimate, standard error, degrees of freedom and p of the mean
paired difference under crossed random effects of replicates and questions.

    python benchmarks/against/lmer.py [--studies 20]

Needs Rscript with the package lmerTest (Debian: apt-get install r-base-core r-cran-lmertest). Differences are normal with both components well
above zero: at the edge, where a component is estimated as zero, lmer drops it and this product does not, on purpose (docs/statistics.md).
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cotdistill.statistics.distributions import t_quantile  # noqa: E402
from cotdistill.statistics.intervals import crossed  # noqa: E402

SHAPES = ((3, 30), (5, 40), (10, 60))
SCRIPT = """
suppressMessages(library(lmerTest))
rows <- read.csv(commandArgs(TRUE)[1])
for (study in unique(rows$study)) {
  fit <- lmer(d ~ 1 + (1 | replicate) + (1 | item), rows[rows$study == study, ], control = lmerControl(optCtrl = list(ftol_abs = 1e-14)))
  told <- coef(summary(fit))
  cat(study, format(told[1, c("Estimate", "Std. Error", "df", "Pr(>|t|)")], digits = 12, scientific = TRUE), isSingular(fit, tol = 0.01), "\\n")
}
"""


def studies(number: int) -> list[np.ndarray]:
    """(replicates, items) differences with a component of each kind."""
    found = []
    for seed in range(number):
        rng = np.random.default_rng(seed)
        s, n = SHAPES[seed % len(SHAPES)]
        found.append(
            0.1 * rng.normal() + 0.3 * rng.normal(size=(s, 1)) + 0.5 * rng.normal(size=(1, n)) + rng.normal(size=(s, n))
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=20)
    number = parser.parse_args().studies
    if shutil.which("Rscript") is None:
        print("Rscript is not installed: nothing was compared. Debian: apt-get install r-base-core r-cran-lmertest")
        return 0
    every = studies(number)
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder) / "rows.csv", Path(folder) / "fit.R"
        with data.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["study", "replicate", "item", "d"])
            for study, values in enumerate(every):
                writer.writerows([study, r, i, repr(float(v))] for (r, i), v in np.ndenumerate(values))
        script.write_text(SCRIPT)
        out = subprocess.run(["Rscript", str(script), str(data)], capture_output=True, text=True, check=True).stdout
    worst, compared = np.zeros(4), 0
    for line in out.splitlines():
        study, *numbers, singular = line.split()
        if singular == "TRUE":
            continue
        values = every[int(study)]
        mine = crossed(values, np.arange(values.shape[1]))
        error = (mine.high - mine.mean) / t_quantile(0.975, mine.df)
        theirs = np.array([float(text) for text in numbers])
        worst = np.maximum(worst, np.abs(np.array([mine.mean, error, mine.df, mine.p]) / theirs - 1))
        compared += 1
    names = ("estimate", "standard error", "degrees of freedom", "p")
    print(
        f"{compared} studies (of {number}; the rest have a component at zero). Largest relative difference to lmerTest:"
    )
    for name, difference in zip(names, worst, strict=True):
        print(f"  {name:>20}  {difference:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
