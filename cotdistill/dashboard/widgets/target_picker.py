"""What is explained, picked by hand: a label, a contrast of two, words of the rationale clicked on, or each rationale
token by itself.

A stretch of the rationale is kept by its places in the intact rationale ("words:12-15"), since it stands in other
columns for every student.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.errors import CotdistillError, NotReadable
from cotdistill.report import heat
from cotdistill.saliency.reading import EncodedExample
from cotdistill.saliency.targets import parse_target
from cotdistill.tasks.example import Example
from cotdistill.text import plain_markdown

KINDS = {
    "contrast": "contrast",
    "label": "answer",
    "words": "words of the rationale",
    "rationale": "each rationale token",
}
START = "contrast"
# More tokens than this are not explained one by one while a person waits.
MOST_EACH = 150
# More words than this are clicked sentence by sentence.
MOST_PILLS = 90
OTHERS, GOLD, PREDICTED = "all others", "the right one", "the one it prefers"


@dataclass(frozen=True)
class Aim:
    """A target as the URL holds it: one of saliency.targets, or "words:FIRST-LAST" in places of the intact rationale
    (first, last), which read `words`."""

    text: str
    first: int = -1
    last: int = -1
    words: str = ""

    @property
    def kind(self) -> str:
        head = self.text.partition(":")[0]
        return head if head in ("words", "rationale", "contrast") else "label"

    def of(self, reading: EncodedExample) -> str:
        """The target for one student's sequence. NotReadable where the sequence has no such place."""
        if self.kind == "rationale" and len(reading.columns("rationale")) > MOST_EACH:
            raise NotReadable(
                f"This rationale has {len(reading.columns('rationale')):,} tokens; at most {MOST_EACH} are explained"
                " one by one while you wait.",
                "Explain some of its words, or take the terminal: attribute ... --target rationale --job",
            )
        if self.kind != "words":
            return self.text
        columns = np.flatnonzero((reading.origin >= self.first) & (reading.origin <= self.last))
        if not len(columns):
            raise NotReadable(
                "Here is no rationale with these words, so they cannot be explained.",
                "Explain an answer, or choose another student.",
            )
        return f"span:{columns[0]}-{columns[-1]}"

    def describe(self, example: Example) -> str:
        """What a positive score speaks for."""
        kind, _, inside = self.text.partition(":")
        named = {choice.label: choice.text for choice in example.choices}
        first, _, second = inside.partition("-")
        if kind == "words":
            return f"“{self.words}”" if self.words else "the chosen words"
        if kind == "rationale":
            return "the rationale's tokens"
        if kind == "predicted":
            return "the answer it prefers"
        if kind == "label":
            return f"“{named.get(first, first)}”"
        if kind == "contrast" and second:
            return f"“{named.get(first, first)}” and against “{named.get(second, second)}”"
        right = f"the right answer, “{example.answer_text}”"
        return right if kind == "gold" else f"{right}, over {f'“{named.get(first, first)}”' if first else 'the others'}"


def read_aim(text: str, example: Example) -> Aim | None:
    """The aim that the URL names; None where it is nonsense or names a choice that the example has not."""
    if match := re.fullmatch(r"words:(\d{1,6})-(\d{1,6})", text):
        first, last = int(match.group(1)), int(match.group(2))
        return Aim(text, first, last) if first <= last else None
    try:
        target = parse_target(text)
    except CotdistillError:
        return None
    labels = {choice.label for choice in example.choices}
    if target.kind == "span" or not {part for part in (target.one, target.other) if part} <= labels:
        return None
    if target.kind == "contrast" and target.one in (target.other, example.answer if not target.other else ""):
        return None
    return Aim(text)


def draw(example: Example, reading: EncodedExample | None) -> Aim:
    """The picker. reading: the sequence of a student in view that holds the rationale; None if none does."""
    wanted = st.query_params.get("target", START)
    aim = read_aim(wanted, example)
    if aim is None:
        if wanted.partition(":")[0] not in ("label", "contrast", "words"):
            frame.lost("target", wanted)
        aim = Aim(START)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        offered = [kind for kind in KINDS if reading is not None or kind in ("contrast", "label", aim.kind)]
        st.session_state["target.kind"] = aim.kind
        st.segmented_control(
            "Explain", offered, key="target.kind", format_func=lambda k: KINDS[k], required=True, on_change=_kind
        )
        if aim.kind in ("contrast", "label"):
            _choices(example, aim)
    if aim.kind == "words":
        return _words(aim, reading)
    return aim


def _kind() -> None:
    st.query_params["target"] = {
        "contrast": "contrast",
        "label": "gold",
        "words": "words:0-0",
        "rationale": "rationale",
    }[st.session_state["target.kind"]]


def _choices(example: Example, aim: Aim) -> None:
    labels = {choice.label: f"({choice.label}) {choice.text}" for choice in example.choices}
    kind, _, inside = aim.text.partition(":")
    first, _, second = inside.partition("-")
    if aim.kind == "label":
        options = [GOLD, PREDICTED, *labels]
        st.session_state["target.one"] = {"gold": GOLD, "predicted": PREDICTED}.get(kind, first)
        st.selectbox(
            "Answer",
            options,
            key="target.one",
            format_func=lambda o: labels.get(str(o), str(o)),
            on_change=_label,
            width=220,
        )
        return
    # contrast:B is the right one against B; contrast:A-B names both.
    wanted, against = (first, second) if second else (example.answer, first or OTHERS)
    st.session_state["target.for"], st.session_state["target.against"] = wanted, against
    right = {label: f"{text} ✓" if label == example.answer else text for label, text in labels.items()}
    label_of = lambda o: right.get(str(o), str(o))  # noqa: E731  one for both boxes
    st.selectbox(
        "For",
        list(labels),
        key="target.for",
        format_func=label_of,
        on_change=_contrast,
        args=(example.answer,),
        width=180,
    )
    rivals = [*([OTHERS] if wanted == example.answer else []), *(label for label in labels if label != wanted)]
    st.selectbox(
        "Against",
        rivals,
        key="target.against",
        format_func=label_of,
        on_change=_contrast,
        args=(example.answer,),
        width=180,
    )


def _label() -> None:
    label = st.session_state["target.one"]
    st.query_params["target"] = {GOLD: "gold", PREDICTED: "predicted"}.get(label, f"label:{label}")


def _contrast(answer: str) -> None:
    first, second = st.session_state["target.for"], st.session_state["target.against"]
    if first == answer:
        st.query_params["target"] = "contrast" if second in (OTHERS, first) else f"contrast:{second}"
    else:
        st.query_params["target"] = f"contrast:{first}-{answer if second in (OTHERS, first) else second}"


def _words(aim: Aim, reading: EncodedExample | None) -> Aim:
    """Pills, one a word of the rationale; the span runs from the first to the last that is pressed."""
    if reading is None:
        return aim
    words = rationale_words(reading)
    if not words:
        return aim
    shown = words
    if len(words) > MOST_PILLS:
        sentences = list(dict.fromkeys(word.sentence for word in words))
        here = next((w.sentence for w in words if w.first <= aim.first <= w.last), sentences[0])
        if st.session_state.get("target.sentence") not in sentences:
            st.session_state["target.sentence"] = here
        chosen = st.selectbox("Sentence", sentences, key="target.sentence", format_func=lambda s: _sentence(words, s))
        shown = [w for w in words if w.sentence == chosen]
    places = range(len(shown))
    st.session_state["target.words"] = [i for i in places if shown[i].first <= aim.last and shown[i].last >= aim.first]
    st.pills(
        "Press the first and the last word", list(places), selection_mode="multi", key="target.words", wrap=True,
        format_func=names(shown).__getitem__, on_change=_pressed, args=(shown, aim),
    )  # fmt: skip
    inside = "".join(word.text for word in words if word.first <= aim.last and word.last >= aim.first)
    return replace(aim, words=heat.visible(inside.strip(), short=True))


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the rationale: its text, its sentence, and the places of its first and last token in the intact
    rationale.
    """

    text: str
    sentence: int
    first: int
    last: int


def rationale_words(reading: EncodedExample) -> list[Word]:
    words: dict[int, Word] = {}
    for column in reading.columns("rationale"):
        number, place = int(reading.words[column]), int(reading.origin[column])
        text = reading.pieces[column]
        if number in words:
            word = words[number]
            words[number] = Word(word.text + text, word.sentence, word.first, place)
        else:
            words[number] = Word(text, int(reading.sentences[column]), place, place)
    return list(words.values())


def names(words: Sequence[Word]) -> list[str]:
    """What the pills say."""
    return told_apart([word.text for word in words])


def told_apart(texts: Sequence[str]) -> list[str]:
    """Streamlit tells pills apart by what they say, so a word that comes again bears its number: climber, climber₂."""
    met: Counter[str] = Counter()
    labels = []
    for text in texts:
        shown = heat.visible(text.strip(), short=True) or "·"
        met[shown] += 1
        labels.append(plain_markdown(shown) + (str(met[shown]).translate(_SMALL) if met[shown] > 1 else ""))
    return labels


_SMALL = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def _sentence(words: Sequence[Word], number: int) -> str:
    return heat.visible("".join(w.text for w in words if w.sentence == number).strip(), short=True)


def _pressed(shown: Sequence[Word], aim: Aim) -> None:
    """One word pressed: it alone, or, beside a span, the span up to it. Pressing inside a span takes the rest away."""
    before = {i for i, word in enumerate(shown) if word.first <= aim.last and word.last >= aim.first}
    after = set(st.session_state["target.words"])
    added, gone = after - before, before - after
    if added and len(before) == 1:
        first, last = min(after), max(after)
    elif added:
        first = last = added.pop()
    elif gone and after:
        first = last = gone.pop()
    else:
        return
    st.query_params["target"] = f"words:{shown[first].first}-{shown[last].last}"
