"""What a teacher says the answer is, read from what it wrote; and what is left of its text when that is taken away.

A statement is found by its cue ("the answer is", "I choose", "... is the right option", a letter on a line of its own);
only where there is none, the answer is taken from what the choices are weighed by ("of the choices, only a bank ...")
or from the only choice that the conclusion names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cotdistill.rationales.words import is_function_word
from cotdistill.tasks.example import Choice
from cotdistill.tasks.thinking import split_thinking
from cotdistill.teachers.mentions import WORD, Mention, exact, letters, mentions, past, sentences

# How a label was read, the surest first.
HOWS = ("letter", "text", "weighed", "implied")
# Why there is none.
PROBLEMS = ("empty", "refusal", "several", "none", "silent")
# Fewer words beside the statement give no reason.
LEAST_REASON = 3

_VERB = r"(?:is|was|are|would\s+be|should\s+be|must\s+be|has\s+to\s+be|will\s+be|could\s+only\s+be)"
_ADVERB = r"(?:therefore|thus|clearly|likely|probably|definitely|indeed|simply|obviously|then)"
_FORWARD = re.compile(
    rf"""(?<!\beach\s)(?<!\bevery\s)\b(?:answers?|choice|option|response|solution)(?:\s+(?:here|choice|to\s+(?:the|this)\s+question))?(?:,?\s+{_ADVERB},?)?
         (?:\s+{_VERB}\b(?:\s*:)?|["']?\s*[:=])
       | \b(?:I|we)(?:['’]d|['’]ll)?\s+(?:would\s+|will\s+|should\s+|must\s+)?(?:choose|select|pick|go\s+with|chose
        |answer)\b
       | (?:^|[.!?\n]\s*)(?:choose|select|pick)\b
       | \\boxed\s*\{{(?:\\text\s*\{{)?
       | (?:^|\n)\s*\#{{2,4}}""",
    re.IGNORECASE | re.VERBOSE,
)
_FILL = re.compile(
    rf"(?:[\s:,]|[\"'“‘]|(?:{_ADVERB}|most\s+likely|option|choice|letter|answer|number|either|both)\b)*", re.IGNORECASE
)
_NOT = re.compile(r"(?:\s|definitely|certainly)*(?:not|never|n['’]t)\b", re.IGNORECASE)
_OR = re.compile(
    r"\s*(?:,\s*(?:or|and)?|/|&|\bor\b|\band\b)\s*(?:also\s+|possibly\s+|maybe\s+|perhaps\s+)?(?:option\s+|choice\s+)?",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\s+(?:is|are|was|were|would|can|do|does|has|have)\b", re.IGNORECASE)
# What may follow an answer that ends there; before any other word it was the start of something longer ("a place that
# needs").
_ENDS = re.compile(
    r"[\"'”’})\]]*(?:\s*(?:$|[.,;!?\n(\[/&)]|:(?=\s|$))|\s+[–—-]"
    r"|\s+(?:because|since|as|for|due|given|and|or|which|not|but|rather|so)\b)",
    re.IGNORECASE,
)  # fmt: skip
_RIGHT = re.compile(
    rf"""[\"'”’)\]]*,?\s+(?:{_VERB}|seems(?:\s+to\s+be)?|appears\s+to\s+be)\s+(?:{_ADVERB}\s+)?
         (?:(?:(?:the|our|my)\s+(?:[a-z]+\s+){{0,3}}?|(?:correct|right|best|most\s+[a-z]+)\s+)(?:answer|choice|option|response)\b
          | (?:the\s+)?(?:correct|right)(?:\s+one)?(?=\s*(?:[.,;!?)\n]|$|because\b|since\b|as\b)))""",
    re.IGNORECASE | re.VERBOSE,
)
_WRONG = re.compile(
    rf"""[\"'”’)\]]*,?\s+(?:{_VERB}\s+(?:{_ADVERB}\s+)?(?:(?:not|never)\s+(?:[a-z]+\s+){{0,3}}?(?:answer|choice|option|correct|right)\b|incorrect\b|wrong\b)
          | (?:is|are)n['’]t\s+(?:[a-z]+\s+){{0,3}}?(?:answer|choice|option|correct|right)\b
          | can(?:not|['’]t)\s+be\s+(?:[a-z]+\s+){{0,2}}?(?:answer|choice|option|correct|right)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_WEIGHED = re.compile(
    r"\b(?:of|among|amongst|from|out\s+of)\s+(?:all\s+)?(?:the|these)\s+(?:[a-z]+\s+){0,2}?(?:choices|options|answers|alternatives)\b(?:\s+(?:given|above|provided|listed))?",
    re.IGNORECASE,
)
_NO_WEIGHING = re.compile(r"\b(?:none|neither|some|all|other|not|n['’]t)\s*$", re.IGNORECASE)
_RETRACTS = re.compile(
    r"\b(?:no,\s+wait|wait,|(?:that|this)(?:['’]s|\s+is)\s+(?:not\s+(?:correct|right)|wrong|incorrect))", re.IGNORECASE
)
_CONCLUDES = re.compile(
    r"\W*(?:so|thus|therefore|hence|consequently|accordingly|in\s+conclusion|as\s+a\s+result|this\s+means)\b",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"\bnone\s+of\s+(?:the\s+)?(?:above|these|choices|options|answers|given|provided|listed)"
    r"|\bno\s+(?:single\s+)?(?:correct|right|suitable|good|valid|clear)\s+(?:answer|choice|option)"
    r"|\bneither\s+(?:of\s+)?(?:the\s+)?(?:choices|options|answers)|\bcan(?:not|['’]t)\s+(?:be\s+)?determine|\bnot\s+enough\s+information",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\W*(?:I(?:['’]m|\s+am)\s+(?:very\s+|really\s+)?sorry|sorry,|my\s+apologies|I\s+apologi[sz]e|as\s+an?\s+(?:AI|large\s+language|language)\b"
    r"|I\s+(?:can(?:not|['’]t|\s+not)|won['’]t|will\s+not|am\s+(?:unable|not\s+able)\s+to)\s+(?:help|assist|answer|provide|comply|complete|discuss|engage"
    r"|generate|create|respond|fulfil)|I['’]m\s+(?:unable|not\s+able)\s+to)",
    re.IGNORECASE,
)
_BECAUSE = re.compile(
    r"[\s,.;:\"'”’)}\]–—-]*(?:\b(?:because|since|as|for|given\s+that|due\s+to\s+the\s+fact\s+that)\b)?[\s,:]*",
    re.IGNORECASE,
)
_REASON = re.compile(r"[\s,.;:\"'”’)}\]–—-]*(?:because|since|as|for)\b", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s:,.–—-]*")
_EMPHASIS = re.compile(r"\*\*|__|`")
# One star or dollar on each side of a letter or a few words: *B*, $B$.
_AROUND = re.compile(r"(?<![\w*$])([*$])(?=\S)([^*$\n]{1,60}?)(?<=\S)\1(?![\w*$])")
# Signs of mathematics around a box: $\boxed{B}$, \[\boxed{\text{B}}\], \(\boxed{B}\).
_MATHS = re.compile(r"(?:\$+|\\\[|\\\()\s*(\\boxed\s*\{[^$\n]*?\})\s*(?:\$+|\\\]|\\\))")
_TAGGED = re.compile(r"<(answer|final_answer|label)>\s*(.*?)\s*</\1>", re.IGNORECASE | re.DOTALL)
# Words that servers and files write where there is nothing.
_NOTHING = {"nan", "null", "none", "n/a"}
_CLOSING_WORDS = frozenset(
    (
        "answer option choice correct right final best therefore thus hence so conclusion means select choose letter "
        "label"
    ).split()
)


@dataclass(frozen=True, slots=True)
class Statement:
    """Where (start, end in characters) an answer is stated; several labels for "A or E"."""

    start: int
    end: int
    labels: tuple[str, ...]
    how: str


@dataclass(frozen=True, slots=True)
class Stated:
    """What a text says. label: the one answer, None without (then `problem` says why). how: letter, text, weighed or
    implied. named: every label that is stated, in order. contradicts: it states two different answers at different
    places, denies the one it states, or takes it back ("No, wait"). reason: the text without the statement; bare: there
    are fewer than three words of it."""

    label: str | None
    how: str
    problem: str
    named: tuple[str, ...]
    contradicts: bool
    reason: str

    @property
    def sure(self) -> str | None:
        """The label, unless it is only implied: measured on labelled rationales, the sure ones are right in 99 of 100,
        the implied in 95.
        """
        return None if self.how == "implied" else self.label

    @property
    def bare(self) -> bool:
        return len(WORD.findall(self.reason)) < LEAST_REASON

    @property
    def label_alone(self) -> bool:
        """Whether an answer is stated, one or several, and fewer than three words beside it; or no word at all."""
        return self.bare and (bool(self.sure) or self.problem == "several" or not WORD.findall(self.reason))


def visible(text: str) -> str:
    """What a model says, without what it thinks and without the marks of Markdown emphasis and of mathematics."""
    said = _EMPHASIS.sub("", split_thinking(text)[1])
    said = _MATHS.sub(r"\1", _TAGGED.sub(r"\nThe answer is \2.\n", said))
    said = _AROUND.sub(r"\2", said).strip()
    return "" if said.casefold() in _NOTHING else said


def parse(text: str, choices: Sequence[Choice]) -> Stated:
    """Read the stated answer. Never fails: what cannot be read has a problem."""
    shown = visible(text)
    if not shown:
        return Stated(None, "", "empty", (), False, "")
    stated, denied = statements(shown, choices)
    reason = without(shown, stated)
    named = tuple(dict.fromkeys(label for one in stated for label in one.labels))
    single = [one for one in stated if len(one.labels) == 1]
    if stated and len(stated[-1].labels) > 1:
        return Stated(None, "", "several", named, False, reason)
    if single:
        label = single[-1].labels[0]
        contradicts = (
            len({one.labels[0] for one in single}) > 1
            or label in denied
            or bool(_RETRACTS.search(shown, single[0].start))
        )
        return Stated(label, single[-1].how, "", named, contradicts, reason)
    if problem := "refusal" if _REFUSAL.match(shown) else "none" if _NONE.search(shown) else "":
        return Stated(None, "", problem, (), False, reason)
    implied = _implied(shown, mentions(shown, choices))
    return Stated(
        implied, "implied" if implied else "", "" if implied else "silent", (implied,) if implied else (), False, reason
    )


def statements(text: str, choices: Sequence[Choice]) -> tuple[list[Statement], set[str]]:
    """The answers that a text states, in order, and the labels that it denies. What the choices are weighed by counts
    after all others, and so only stands last where nothing else is stated behind it."""
    matches: list[Statement] = []
    denied: set[str] = set()
    for cue in _FORWARD.finditer(text):
        start = past(_FILL, text, cue.end())
        if negation := _NOT.match(text, start):
            if refused := _reference(text, past(_FILL, text, negation.end()), choices):
                denied.add(refused.label)
        elif first := _reference(text, start, choices):
            matches.append(_with_others(text, cue.start(), first, choices))
    named = [
        m
        for m in [*mentions(text, choices), *letters(text, choices)]
        if m.how != "bare" or text[m.start : m.end].isupper() or m.label.isdigit()
    ]
    for mention in named:
        if _WRONG.match(text, mention.end):
            denied.add(mention.label)
        elif (
            (right := _RIGHT.match(text, mention.end))
            and not _among_none(text, mention)
            and not any(s.start <= mention.start < s.end for s in matches)
        ):
            matches.append(
                Statement(mention.start, right.end(), (mention.label,), "text" if mention.how == "text" else "letter")
            )
    matches += _standing_alone(text, choices, matches)
    if not matches:
        matches = _weighed(text, named)
    return sorted(matches, key=lambda s: s.start), denied


def _among_none(text: str, mention: Mention) -> bool:
    """Whether a choice stands in something like "none of the options B, C or D are correct"."""
    begun = max(text.rfind(mark, 0, mention.start) for mark in ".!?\n;") + 1
    return bool(re.search(r"\b(?:none|neither|nor|not)\b", text[begun : mention.start], re.IGNORECASE))


def _reference(text: str, start: int, choices: Sequence[Choice]) -> Mention | None:
    """The choice that is named right at a place and ends there: by letter (with its text behind it), or by text."""
    for one in letters(text[start : start + 24], choices):
        if one.start == 0:
            end = start + one.end
            if one.how == "letter" or _ENDS.match(text, end):
                choice = next(c for c in choices if c.label == one.label)
                behind = exact(text, choice, past(_BETWEEN, text, end))
                if one.how == "bare" and behind is None and (also := _by_text(text, start, choices)):
                    # A choice may itself be a letter or a number: alone, it is the text that is meant.
                    return also
                return Mention(start, behind or end, one.label, "letter")
            break
    return _by_text(text, start, choices)


def _by_text(text: str, start: int, choices: Sequence[Choice]) -> Mention | None:
    ends = [
        (end, choice.label)
        for choice in choices
        if (end := exact(text, choice, start)) is not None and _ENDS.match(text, end)
    ]
    return Mention(start, max(ends)[0], max(ends)[1], "text") if ends else None


def _with_others(text: str, start: int, first: Mention, choices: Sequence[Choice]) -> Statement:
    """A statement from its first reference on: "A or E", "A, B and C" name several."""
    labels, end = [first.label], first.end
    while joint := _OR.match(text, end):
        more = _reference(text, joint.end(), choices)
        if more is None or more.label in labels or _GOES_ON.match(text, more.end):
            break
        labels.append(more.label)
        end = more.end
    return Statement(start, end, tuple(labels), first.how)


def _standing_alone(text: str, choices: Sequence[Choice], earlier: Sequence[Statement]) -> list[Statement]:
    """A choice on a line of its own, or a letter that opens or closes the text: "B", "(B) bank", "B. It is quiet
    there.", "Yes, because ...".

    Where the choices are gone through one by one ("A: Nails ... B: Teeth ..."), nothing but the last line is an answer.
    """
    pieces = sentences(text)
    listed = len({m.group(1) for m in _ITEM.finditer(text) if any(c.label == m.group(1) for c in choices)}) > 1
    lines = [(m.start(), m.end()) for m in _LINE.finditer(text)]
    more = []
    for start, end in dict.fromkeys([pieces[-1], lines[-1]] if listed else [pieces[0], pieces[-1], *lines]):
        first = None if any(s.start <= start < s.end for s in earlier) else _reference(text, start, choices)
        if first is None or (
            first.how == "letter" and text[first.start : first.end].islower() and first.end < len(text)
        ):
            continue
        statement = _with_others(text, start, first, choices)
        # "A. bank" is one answer though a full stop stands in it.
        rest = text[statement.end : max(end, statement.end)]
        alone = not re.search(r"\w", rest) and (first.how == "letter" or (start, end) in lines)
        opens = (
            not listed
            and start == pieces[0][0]
            and (_OPENING_LETTER if first.how == "letter" else _OPENING).match(text, statement.end)
        )
        if alone or opens:
            more.append(statement)
    return more


_LINE = re.compile(r"\S.*")
_ITEM = re.compile(r"(?:^|[\s.:;,])\(?(\w{1,2})[:.)](?=\s)")
_OPENING = re.compile(r"\s*[.!\n]|\s+[–—-]|,\s*(?:because|since|as)\b")
_OPENING_LETTER = re.compile(rf"{_OPENING.pattern}|\s*:|(?<=[)\]])\s+[A-Z]")


def _weighed(text: str, named: Sequence[Mention]) -> list[Statement]:
    """Sentences that weigh the choices and name one of them behind it: "Of the above choices, only a bank needs
    security.".
    """
    weighed = []
    for start, end in sentences(text):
        cue = _WEIGHED.search(text, start, end)
        if cue is None or _NO_WEIGHING.search(text, start, cue.start()) or text.startswith(":", cue.end()):
            continue
        behind = {m.label for m in named if cue.end() <= m.start < end}
        before = {m.label for m in named if start <= m.start < cue.start()}
        labels = behind or before
        if len(labels) == 1:
            weighed.append(Statement(start, start, tuple(labels), "weighed"))
    return weighed


def _implied(text: str, named: Sequence[Mention]) -> str | None:
    """The only choice that the conclusion names, else the last sentence, else the whole text."""
    pieces = sentences(text)
    for start, end in [*(p for p in reversed(pieces) if _CONCLUDES.match(text, p[0])), pieces[-1], (0, len(text))]:
        labels = {m.label for m in named if start <= m.start < end}
        if len(labels) == 1:
            return labels.pop()
    return None


def without(text: str, stated: Sequence[Statement]) -> str:
    """The text without the sentences that do nothing but state the answer; of "The answer is B because birds fly." the
    reason stays.
    """
    if not any(one.end > one.start for one in stated):
        return text
    kept = []
    for start, end in sentences(text):
        inside = [one for one in stated if one.start < one.end and one.start < end and one.end > start]
        if not inside:
            kept.append(text[start:end])
            continue
        first, last = inside[0], inside[-1]
        before, after = text[start : max(start, first.start)], text[min(last.end, end) : end]
        rest = after[past(_BECAUSE, after, 0) :]
        if not _content(before) and _content(after, 1 if _REASON.match(after) else 2):
            kept.append(rest[:1].upper() + rest[1:])
        elif _content(before):
            kept.append(text[start:end])
    return " ".join(piece.strip() for piece in kept if piece.strip())


def _content(text: str, least: int = 2) -> bool:
    """Whether a piece of a sentence says something beyond stating an answer."""
    return sum(not is_function_word(w) and w.casefold() not in _CLOSING_WORDS for w in WORD.findall(text)) >= least
