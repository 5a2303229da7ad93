"""The panels of page Saliency: one card a student, one heat map a method, all on one scale. Questions go out, cards
come back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cotdistill.config import plain
from cotdistill.dashboard.widgets import asking
from cotdistill.dashboard.widgets.asking import Question
from cotdistill.dashboard.widgets.pickers import PickedStudent, method_name
from cotdistill.dashboard.widgets.view_state import Scene, example_for, reading_of
from cotdistill.errors import CotdistillError
from cotdistill.report import heat
from cotdistill.report.explanation import Explanation, explanations, largest, marks, masses
from cotdistill.report.heat import Bar, Panel, Scale, StudentCard
from cotdistill.saliency.methods import METHODS
from cotdistill.tasks.example import Example
from cotdistill.text import capital, listed, percent

# What the scores of methods without a sign count in; all others count in nats of what is explained.
LENGTHS = {"saliency": "nats per unit of embedding", "attention_rollout": "share of the attention"}


@dataclass(frozen=True)
class CardRequest:
    """One student on one text: a question a method, or why none could be asked. which: "" (as it stands) or
    "edited".
    """

    student: PickedStudent
    which: str
    target: str
    questions: Mapping[str, Question] = field(default_factory=dict)
    refused: str = ""

    def explained(self, method: str) -> list[Explanation]:
        """The explanations of a method; empty while they are on their way."""
        question = self.questions.get(method)
        answer = question.answer if question is not None else None
        return explanations(answer) if answer is not None else []

    @property
    def first(self) -> Explanation | None:
        """Any explanation: they agree on the prediction."""
        return next((explained[0] for method in self.questions if (explained := self.explained(method))), None)


def ask(scene: Scene) -> list[CardRequest]:
    """Send the questions of a view: every student with the text as it stands, and, if it was edited, with the edited
    one.
    """
    requests = []
    for student in scene.students:
        for which, text in (("", scene.example), ("edited", scene.edited)):
            if text is not None:
                requests.append(_ask(scene, student, which, text))
    return requests


def _ask(scene: Scene, student: PickedStudent, which: str, text: Example) -> CardRequest:
    example = example_for(scene.store, student, scene.example)
    if example is None:
        return CardRequest(
            student,
            which,
            "",
            refused=f"This student was trained in another world, which has no question “{scene.example.id}”.",
        )
    # The edited rationale is one for all; an untouched one stays each student's own.
    shown = example if not which else _with(example, text, scene.example)
    try:
        target = scene.aim.of(reading_of(scene.store, student, shown))
    except CotdistillError as error:
        return CardRequest(student, which, "", refused=asking.message_of(error))
    where: dict[str, Any] = {"do": "attribute", "run": student.job.identity, "checkpoint": scene.checkpoint}
    where |= {"edited": spelled(shown)} if which else {"split": scene.split, "example": scene.example.id}
    questions = {
        m: asking.ask(scene.store, {**where, "settings": plain(scene.settings_of(m, target))}) for m in scene.methods
    }
    return CardRequest(student, which, target, questions)


def _with(example: Example, edited: Example, original: Example) -> Example:
    rationale = example.rationale if edited.rationale == original.rationale else edited.rationale
    return replace(example, question=edited.question, rationale=rationale)


def spelled(example: Example) -> dict[str, Any]:
    """An edited example as the warm process takes it."""
    choices = [[choice.label, choice.text] for choice in example.choices]
    spelled_out = {"question": example.question, "choices": choices, "answer": example.answer}
    passage = {"passage_lines": example.passage_lines} if example.passage_lines else {}
    return {**spelled_out, "rationale": example.rationale, **passage}


def questions_of(asked: Iterable[CardRequest]) -> list[Question]:
    return [question for one in asked for question in one.questions.values()]


def is_signed(scene: Scene, method: str) -> bool:
    return METHODS.get(method).signed and scene.settings.aggregation == "sum"


def scales(scene: Scene, asked: Sequence[CardRequest]) -> dict[str, Scale]:
    """By method. Signed methods share one scale, since all count in nats; each of the others has its own."""
    by_method = {m: [e for one in asked for e in one.explained(m)[:1]] for m in scene.methods}
    signed = [e for m in scene.methods if is_signed(scene, m) for e in by_method[m]]
    shared = heat.signed_scale(largest(signed, scene.unit))
    return {
        m: (
            shared
            if is_signed(scene, m)
            else heat.length_scale(largest(by_method[m], scene.unit), LENGTHS.get(m, "nats"))
        )
        for m in scene.methods
    }


def cards(scene: Scene, asked: Sequence[CardRequest]) -> list[StudentCard]:
    """The cards, filled as far as there are answers."""
    by_method = scales(scene, asked)
    return [_card(scene, one, by_method, _original(asked, one)) for one in asked]


def _original(asked: Sequence[CardRequest], edited: CardRequest) -> Explanation | None:
    """What the same student said of the text as it stands, to compare an edited one with."""
    return next((one.first for one in asked if edited.which and not one.which and one.student == edited.student), None)


def _card(
    scene: Scene, request: CardRequest, by_method: Mapping[str, Scale], before: Explanation | None
) -> StudentCard:
    title = f"{request.student.label}{', edited' if request.which else ''}"
    condition = str(request.student.condition)
    if request.refused:
        return StudentCard(condition, title, failed=request.refused)
    errors = [asking.message_of(q.error) for q in request.questions.values() if q.error is not None]
    first = request.first
    if first is None:
        return StudentCard(condition, title, failed=errors[0] if errors else "", waiting=not errors)
    shown = [
        _panel(scene, method, explained[0], by_method[method])
        for method in scene.methods
        if (explained := request.explained(method))
    ]
    return StudentCard(condition, title, bars(first, before), shown, _card_text(first))


def _card_text(explanation: Explanation) -> str:
    """What holds for every panel of a student."""
    text = f"What is explained stands at {_nats(explanation.value)}."
    text += (
        f" {explanation.left_out} rationale tokens were cut off: the student reads no more."
        if explanation.left_out
        else ""
    )
    return f"{text} Rationale {explanation.not_readable}" if explanation.not_readable else text


def bars(explanation: Explanation, before: Explanation | None = None) -> list[Bar]:
    """The probabilities over the choices; before: of the text as it stood, to be marked on the bars."""
    was = before.probabilities if before is not None else [None] * len(explanation.probabilities)
    return [
        Bar(text, share, place == explanation.gold, place == explanation.predicted, old)
        for place, (text, share, old) in enumerate(
            zip(explanation.choices, explanation.probabilities, was, strict=True)
        )
    ]


def _panel(scene: Scene, method: str, explanation: Explanation, scale: Scale) -> Panel:
    caption = warned = ""
    if explanation.gap is not None:
        whole = math.fsum(score for score in explanation.scores if not math.isnan(score))
        caption = f"adds up to {_nats(whole)}; completeness gap {percent(explanation.gap)} at {explanation.steps} steps"
        if not explanation.converged:
            warned = (
                f"Not converged: the scores miss {percent(explanation.gap)} of what they explain, after"
                f" {explanation.steps} steps."
            )
    return Panel(
        capital(method_name(method)), marks(explanation, scene.unit), scale, masses(explanation), caption, warned
    )


def _nats(value: float) -> str:
    return f"{heat.number(value, heat.signed_scale(max(1.0, abs(value))))} nats"


def states(asked: Sequence[CardRequest]) -> list[str]:
    """Which kinds of marks without a score are in view, for the legend."""
    return list(
        dict.fromkeys(
            m.state
            for one in asked
            for method in one.questions
            for e in one.explained(method)[:1]
            for m in marks(e)
            if m.state
        )
    )


def headline(scene: Scene, asked: Sequence[CardRequest]) -> str:
    """What the panels show, in a sentence: who rests on what."""
    if scene.edited is not None and (effects := edit_told(asked)):
        return f"Edited: {'; '.join(effects)}"
    method = scene.methods[0]
    parts: list[str] = []
    for one in asked:
        explained = one.explained(method)
        shares = masses(explained[0]) if explained else []
        if one.which or not any(mass.total for mass in shares):
            continue
        top = next((mass for mass in shares if mass.segment == "rationale"), max(shares, key=lambda mass: mass.share))
        rests = "rests " if not parts else ""
        parts.append(f"{one.student.condition.label} {rests}{100 * top.share:.0f} % on the {top.segment}")
    return capital(listed(dict.fromkeys(parts))) if parts else "What the answer rests on"


def edit_told(asked: Sequence[CardRequest]) -> list[str]:
    """What an edit did to each student's answer."""
    changes = []
    for one in asked:
        before, after = _original(asked, one), one.first
        if before is None or after is None:
            continue
        name = one.student.condition.label
        if after.predicted != before.predicted:
            changes.append(
                f"{name} answers “{after.choices[after.predicted]}” instead of “{before.choices[before.predicted]}”"
            )
        elif _same(before, after):
            changes.append(f"nothing changes for {name}")
        else:
            changes.append(f"{name} still answers “{after.choices[after.predicted]}”")
    return list(dict.fromkeys(changes))


def _same(first: Explanation, second: Explanation) -> bool:
    return max(abs(a - b) for a, b in zip(first.probabilities, second.probabilities, strict=True)) < 1e-4
