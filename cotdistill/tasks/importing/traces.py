"""What an import makes of the texts of rationales: thoughts and answers apart, white space kept, and the template parts
that follow from them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from cotdistill.tasks.task import Rationale
from cotdistill.tasks.template import Template
from cotdistill.tasks.thinking import closing_mark, opens_thinking, split_thinking
from cotdistill.text import plural

# A trace of more characters than this is said to be long: no small student reads it whole.
LONG = 20_000


def kept_traces(
    rationales: Sequence[Rationale], template: Template, warnings: list[str]
) -> tuple[list[Rationale], Template]:
    """The rationales with their parts apart, and the template with what follows from them: the default part is what was
    thought where the template's rationale cue opens thoughts (`<think>`), else what was said after thinking."""
    part = "thinking" if opens_thinking(template.rationale_cue) else "answer"
    kept = [_apart(rationale, part) for rationale in rationales]
    if thoughtful := Counter(r.source for r in kept if r.thinking is not None):
        counts = ", ".join(f"{source} ({count:,})" for source, count in thoughtful.items())
        warnings.append(
            f"Thoughts and answers are kept apart: {counts}. Conditions read the {part} unless they say @part=thinking,"
            " @part=answer or @part=both."
        )
        template = _with_end(template)
    if cut := sum(opens_thinking(r.text or "") for r in rationales):
        warnings.append(f"{plural(cut, 'rationale')} open a thought and never close it: all that follows is thought.")
    texts = [text for r in kept for text in (r.text, r.thinking, r.answer) if text]
    if not template.white_space and any("\n" in text for text in texts):
        template = replace(template, white_space="kept")
    if long := [text for text in texts if len(text) > LONG]:
        warnings.append(
            f"{plural(len(long), 'rationale')} of more than {LONG:,} characters (the longest has"
            f" {max(map(len, long)):,}): the plan of a study says which of them a student cannot read whole."
        )
    if template.step and (without := sum(not re.search(template.step, text) for text in texts)):
        warnings.append(
            f"The steps pattern {template.step!r} matches nothing in {without:,} of {len(texts):,} texts: there a line"
            " is a step, or a sentence where there is one line."
        )
    return kept, template


def _apart(rationale: Rationale, part: str) -> Rationale:
    """A rationale whose text is cut at the marks of thoughts; unchanged if it has none."""
    if not rationale.text:
        return rationale
    thinking, answer = (text.strip() for text in split_thinking(rationale.text))
    if not thinking:
        # Empty thoughts, as models write that were told not to think.
        return replace(rationale, text=answer or None) if answer != rationale.text.strip() else rationale
    shown = (thinking if part == "thinking" else answer) or thinking
    return replace(rationale, text=shown, thinking=thinking, answer=answer or None)


def _with_end(template: Template) -> Template:
    """A template whose rationale cue opens thoughts, with what closes them before the label. Where the rationale cue
    begins as the label cue does, both open the same turn, and the label follows in it."""
    closing = closing_mark(template.rationale_cue)
    if not closing or template.rationale_end:
        return template
    same_turn = template.rationale_cue.startswith(template.label_cue)
    return replace(template, rationale_end=f"\n{closing}\n\n" if same_turn else f"\n{closing}{template.label_cue}")
