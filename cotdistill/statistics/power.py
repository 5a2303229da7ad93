"""What a study could see, before it is trained."""

from __future__ import annotations

import math

from scipy import stats

# Stated guesses, in shares: the spread of a paired difference over replicates, its share that belongs to the question (cluster), and the rest.
# A paired difference of two 0/1 answers that disagree on 15 to 35 % of the items has a variance of about that size.
GUESS_LOW = (0.005, 0.15, 0.35)
GUESS_HIGH = (0.020, 0.25, 0.55)


def minimum_detectable_effect(replicates: int, clusters: int, s_rep: float, s_cluster: float, s_rest: float) -> float | None:
    """The true difference (a share) found in four of five such studies at 5 %:
    (t[.975, S-1] + t[.8, S-1]) x sqrt(s_rep^2/S + s_cluster^2/C + s_rest^2/(S C)); None below two replicates."""
    if replicates < 2 or clusters < 1:
        return None
    error = math.sqrt(s_rep**2 / replicates + s_cluster**2 / clusters + s_rest**2 / (replicates * clusters))
    return float(stats.t.ppf(0.975, replicates - 1) + stats.t.ppf(0.8, replicates - 1)) * error


def detectable_effect(*, replicates: int, items: int, clusters: int) -> dict[str, float | str | None]:
    """The minimum detectable effect in points under a low and a high guess of the noise, and a sentence that says so."""
    per_cluster = max(1.0, items / max(1, clusters))
    found = []
    for s_rep, s_cluster, s_rest in (GUESS_LOW, GUESS_HIGH):
        effect = minimum_detectable_effect(replicates, clusters, s_rep, s_cluster / math.sqrt(per_cluster), s_rest / math.sqrt(per_cluster))
        found.append(None if effect is None else round(100 * effect, 1))
    told = "needs two replicates" if found[0] is None else "from stated guesses of the noise"
    return {"label": told, "points_low": found[0], "points_high": found[1]}
