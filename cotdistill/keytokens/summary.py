"""What a selection is like over a task: its top words, how much of it is the label's own text, and how far two
selections overlap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from cotdistill.keytokens.agreement import jaccard, jaccard_by_chance
from cotdistill.keytokens.spans import word_spans
from cotdistill.rationales.passage import Passage, units
from cotdistill.rationales.words import is_function_word
from cotdistill.saliency.stability import spearman
from cotdistill.tasks.example import Example

# Key words an example that summaries look at.
TOP = 5
LEAST = 5
MOST_WORDS = 20

Rows = Sequence[tuple[Example, Passage]]
Scores = Mapping[str, Sequence[float]]


def word_scores(passage: Passage, scores: Sequence[float]) -> list[tuple[str, float]]:
    """(word, score) in order; a word's score is the sum of its tokens'."""
    return [(word[0].text, sum(scores[t.origin] for t in word)) for word in units(passage, "word")]


def top_places(words: Sequence[tuple[str, float]], k: int) -> set[int]:
    """The places of the k words with the highest scores, ties to the earlier."""
    return set(sorted(range(len(words)), key=lambda i: (-words[i][1], i))[:k])


def label_words(text: str) -> set[str]:
    """The words of an answer that would give it away, case folded: its content words, so that "the" of "the sea" is no
    leak; all of them where it has no content words."""
    words = [text[a:b] for a, b in word_spans(text)]
    return {word.casefold() for word in ([w for w in words if not is_function_word(w)] or words)}


def described(rows: Rows, scores: Scores, k: int = TOP) -> dict[str, Any]:
    """Of the k highest words of every rationale: the share that is the right answer's own text (`label_words`), the
    share of content words, and the words that are chosen most often of those met at least LEAST times."""
    chosen, label, content = 0, 0, 0
    met: defaultdict[str, int] = defaultdict(int)
    taken: defaultdict[str, int] = defaultdict(int)
    for example, passage in rows:
        if example.id not in scores:
            continue
        words = word_scores(passage, scores[example.id])
        top = top_places(words, k)
        answer = label_words(example.answer_text)
        for place, (word, _) in enumerate(words):
            name = word.casefold()
            met[name] += 1
            if place in top:
                taken[name] += 1
                chosen += 1
                label += name in answer
                content += not is_function_word(word)
    ranked = sorted((n for n in met if met[n] >= LEAST), key=lambda n: (-taken[n] / met[n], -met[n], n))[:MOST_WORDS]
    return {
        "k": k,
        "chosen": chosen,
        "label_text_share": label / chosen if chosen else None,
        "content_share": content / chosen if chosen else None,
        "top_words": [{"word": name, "share": taken[name] / met[name], "met": met[name]} for name in ranked],
    }


def overlap(rows: Rows, left: Scores, right: Scores, k: int = TOP) -> dict[str, Any]:
    """Mean Jaccard of the k highest words and mean rank correlation of all words, over the examples that both have
    scored; chance: what two random choices of k words would share by Jaccard, in the mean."""
    shared, ranks, chance = [], [], []
    for example, passage in rows:
        if example.id not in left or example.id not in right or not passage:
            continue
        first, second = word_scores(passage, left[example.id]), word_scores(passage, right[example.id])
        shared.append(jaccard(top_places(first, k), top_places(second, k)))
        n, size = len(first), min(k, len(first))
        chance.append(jaccard_by_chance(n, size))
        rank = spearman(np.array([s for _, s in first]), np.array([s for _, s in second]))
        if rank is not None:
            ranks.append(rank)
    return {
        "examples": len(shared),
        "jaccard": fmean(shared) if shared else None,
        "chance": fmean(chance) if chance else None,
        "rank": fmean(ranks) if ranks else None,
    }
