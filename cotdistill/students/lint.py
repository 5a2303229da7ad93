"""Tokenisation lint: what a tokenizer makes of a task's answers and of the boundaries between its spans (arXiv
2212.09912). No torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cotdistill.config import StudentConfig
from cotdistill.errors import StudentError
from cotdistill.rationales.passage import Token
from cotdistill.students import memory
from cotdistill.students.files import here
from cotdistill.students.models import STUDENTS, is_built_in
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

# The spans of one sequence that has every boundary: a rationale before the label, and one behind it.
ORDERS = (
    ("question", "choices", "rationale_cue", "rationale", "label_cue", "label"),
    ("choices", "label_cue", "label", "rationale_cue", "rationale"),
)
NAMES = {
    "question": "question",
    "choices": "choices",
    "rationale_cue": "rationale cue",
    "rationale": "rationale",
    "label_cue": "answer cue",
    "label": "answer",
}
SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. grave: it should be mended before training; else good to know. count of `of`
    (answers, questions, rows) show it; shown: the first few, as text; told: what it means; advice: what to do."""

    kind: str
    grave: bool
    count: int
    of: int
    unit: str
    message: str
    advice: str
    shown: tuple[str, ...]

    def line(self) -> str:
        """In one sentence or two, with the first case."""
        case = f", e.g. {self.shown[0]}" if self.shown else ""
        return f"{self.message} ({self.count:,} of {self.of:,} {self.unit}{case}). {self.advice}"


def lint(encoder: Encoder, examples: Sequence[Example], limit: int = 0) -> list[Finding]:
    """What is worth knowing of some rows, grave things first; empty where every check passes. limit: tokens that the
    student reads, 0: unknown.
    """
    texts = list(dict.fromkeys(text for example in examples for text in encoder.template.target_texts(example)))
    findings = [
        *_between_choices(encoder, examples),
        *_boundaries(encoder, examples),
        *_unknown(encoder, examples),
        *_long(encoder, examples, limit),
        *_answers(encoder, texts),
        *_listed(encoder, examples),
        *_cues(encoder),
    ]
    return sorted(findings, key=lambda finding: not finding.grave)


def limit_of(student: StudentConfig) -> int:
    """Tokens that a student reads, as far as its files are on this machine; 0 where nobody knows."""
    if is_built_in(student.name):
        return STUDENTS.get(student.name).positions
    folder = here(student)
    try:
        return memory.of_folder(folder).positions if folder is not None else 0
    except StudentError:
        return 0


def _finding(
    kind: str, cases: Iterable[str], of: int, unit: str, message: str, advice: str, *, grave: bool = False
) -> list[Finding]:
    every = list(cases)
    return (
        [Finding(kind, grave, len(every), of, unit, message, advice, tuple(dict.fromkeys(every))[:SHOWN])]
        if every
        else []
    )


def _ids(encoder: Encoder, text: str) -> tuple[int, ...]:
    return _without_terminator(encoder, encoder.target(text))


def _without_terminator(encoder: Encoder, answer: Sequence[Token]) -> tuple[int, ...]:
    """The ids of an answer's own text."""
    return tuple(token.id for token in (answer[:-1] if encoder.terminator else answer))


def shown(encoder: Encoder, ids: Iterable[int]) -> str:
    """Tokens as text, told apart by bars: "| wood|pecker|"; where they spell characters in parts, the text and their
    number.
    """
    ids = list(ids)
    if any("\ufffd" in encoder.piece(id) for id in ids):
        return f"{encoder.tokenizer.decode(ids, skip_special_tokens=False)!r} in {len(ids)} tokens"
    return "|" + "|".join(encoder.piece(id).replace("\n", "⏎") for id in ids) + "|"


def _between_choices(encoder: Encoder, examples: Sequence[Example]) -> list[Finding]:
    """Choices of one question that begin with the same token, continue another one, or cannot be told apart."""
    cases: dict[str, list[str]] = {"same": [], "prefix": [], "first": []}
    for example in examples:
        texts = encoder.template.target_texts(example)
        pairs = [(a, b, _ids(encoder, a), _ids(encoder, b)) for i, a in enumerate(texts) for b in texts[i + 1 :]]
        messages = {
            "same": next((f"{a!r} and {b!r}" for a, b, x, y in pairs if x == y), ""),
            "prefix": next((f"{a!r} and {b!r}" for a, b, x, y in pairs if x != y and x[: len(y)] == y[: len(x)]), ""),
            "first": next(
                (f"{shown(encoder, x)} and {shown(encoder, y)}" for _, _, x, y in pairs if x[0] == y[0] and x != y), ""
            ),
        }
        for kind, case in messages.items():
            cases[kind] += [case] if case else []
    n = len(examples)
    return [
        *_finding(
            "same",
            cases["same"],
            n,
            "questions",
            "Two choices are the same tokens, so no student can tell them apart",
            "Change their texts, or let students answer with letters (template target=letter).",
            grave=True,
        ),
        *_finding(
            "prefix",
            cases["prefix"],
            n,
            "questions",
            "One choice is the beginning of another",
            (
                "Nothing to do: answers end in the end token, which tells the two apart."
                if encoder.terminator
                else "Without an end token students can hardly learn to choose between the two: train with"
                " --set terminator=on."
            ),
            grave=not encoder.terminator,
        ),
        *_finding(
            "first_token",
            cases["first"],
            n,
            "questions",
            "Choices share their first token, so it decides nothing",
            "Nothing to do here: whole answers are scored. Attributions of the first token alone would mislead.",
        ),
    ]


def _boundaries(encoder: Encoder, examples: Sequence[Example]) -> list[Finding]:
    """Neighbouring spans whose tokens change when both are read as one text."""
    cases: dict[tuple[str, str], list[str]] = {}
    counted: dict[tuple[str, str], int] = {}
    known: dict[tuple[str, str, str, str], str] = {}
    for example in examples:
        spans = _spans(encoder, example)
        pairs = dict.fromkeys(
            (a, b) for order in ORDERS for a, b in pairwise([name for name in order if spans.get(name)])
        )
        for a, b in pairs:
            counted[a, b] = counted.get((a, b), 0) + 1
            key = (a, b, spans[a], spans[b])
            if key not in known:
                known[key] = _merged(
                    encoder, spans[a], spans[b], encoder.read if b in ("label", "rationale") else encoder.plain
                )
            if known[key]:
                cases.setdefault((a, b), []).append(known[key])
    findings = []
    for (a, b), every in cases.items():
        message = f"Between {NAMES[a]} and {NAMES[b]} the tokens change when both are read as one text"
        advice = (
            "Here each span is tokenised on its own, in training and scoring alike; a server that reads the whole text"
            f" would read other tokens. Let {NAMES[b]} begin with a line break, or end {NAMES[a]} without a space, in"
            " the template."
        )
        findings += _finding(f"boundary:{a}|{b}", every, counted[a, b], "rows", message, advice, grave=b == "label")
    return findings


def _spans(encoder: Encoder, example: Example) -> dict[str, str]:
    """The text of each span as it stands in a sequence: label and rationale with the space before them."""
    template = encoder.template
    rationale = " ".join((example.rationale or "").split())
    answer = " ".join(template.target_texts(example)[example.gold].split())
    return {
        "question": template.question_text(example),
        "choices": template.choices_text(example),
        "rationale_cue": template.rationale_cue,
        "rationale": f" {rationale}" if rationale else "",
        "label_cue": template.label_cue,
        "label": f" {answer}",
    }


def _merged(encoder: Encoder, before: str, after: str, read: Callable[[str], Sequence[Token]]) -> str:
    """Where the joint tokens of two texts are not those of each: the tokens around the boundary, as text; else nothing.
    read: how the second becomes tokens in a sequence."""

    def plain(text: str) -> list[int]:
        return list(encoder.tokenizer.encode(text, add_special_tokens=False).ids)

    # What stands before the boundary is read from its start in both, so a space that the tokenizer puts in front is in
    # both.
    separate, joint = plain(before), plain(before + after)
    ids = [token.id for token in read(after)]
    if joint == [*separate, *ids]:
        return ""
    at = next((i for i, (x, y) in enumerate(zip(joint, [*separate, *ids], strict=False)) if x != y), len(separate))
    around = slice(max(0, at - 1), at + 2)
    return f"{shown(encoder, joint[around])} instead of {shown(encoder, [*separate, *ids][around])}"


def _unknown(encoder: Encoder, examples: Sequence[Example]) -> list[Finding]:
    """Tokens that stand for what the tokenizer does not know, and single bytes."""
    unknown = encoder.unknown
    answers: list[str] = []
    rows: list[str] = []
    spelt: list[str] = []
    for example in examples:
        spans = _spans(encoder, example)
        if unknown is not None:
            answers += [
                repr(text) for text in encoder.template.target_texts(example) if unknown in _ids(encoder, text)
            ][:1]
            rows += next(
                ([_first_unknown(encoder, text, unknown)] for text in spans.values() if unknown in _raw(encoder, text)),
                [],
            )
        spelt += next(([case] for text in spans.values() if (case := _spelt(encoder, text))), [])
    n = len(examples)
    return [
        *_finding(
            "unknown_answer",
            answers,
            n,
            "questions",
            "An answer has a token that stands for everything unknown",
            "Such answers cannot be told apart: choose a tokenizer that knows them (bpe, or a pretrained student's).",
            grave=True,
        ),
        *_finding(
            "unknown",
            rows,
            n,
            "rows",
            "A row has words that the tokenizer does not know",
            "They are all one token to the student. The bpe tokenizer spells them.",
        ),
        *_finding(
            "bytes",
            spelt,
            n,
            "rows",
            "A row has characters that are spelt byte by byte",
            "Nothing is lost, but such a character is several tokens: keep whole words when tokens are cut or shuffled"
            " (unit=word).",
        ),
    ]


def _raw(encoder: Encoder, text: str) -> list[int]:
    return list(encoder.tokenizer.encode(text, add_special_tokens=False).ids)


def _first_unknown(encoder: Encoder, text: str, unknown: int) -> str:
    encoding = encoder.tokenizer.encode(text, add_special_tokens=False)
    low, high = encoding.offsets[encoding.ids.index(unknown)]
    return repr(text[low:high].strip())


def _spelt(encoder: Encoder, text: str) -> str:
    """The first character that takes several tokens; nothing if none does."""
    if text.isascii():
        return ""
    covered = Counter(
        i for low, high in encoder.tokenizer.encode(text, add_special_tokens=False).offsets for i in range(low, high)
    )
    return next((repr(text[i]) for i, number in sorted(covered.items()) if number > 1), "")


def _long(encoder: Encoder, examples: Sequence[Example], limit: int) -> list[Finding]:
    if not limit:
        return []
    # With the end behind the rationale, and what the tokenizer puts in front.
    more = 1 + (encoder.specials.bos is not None)
    lengths = [
        sum(len(_raw(encoder, text)) for text in _spans(encoder, example).values()) + more for example in examples
    ]
    return _finding(
        "too_long", (f"{n} tokens" for n in sorted(lengths, reverse=True) if n > limit), len(examples), "rows",
        f"A row with its rationale is longer than the {limit} tokens that the student reads",
        "Set student.truncate to question or rationale, or choose a student that reads more.", grave=True,
    )  # fmt: skip


def _answers(encoder: Encoder, texts: Sequence[str]) -> list[Finding]:
    def several() -> Iterable[str]:
        every = [_ids(encoder, text) for text in texts]
        return (shown(encoder, ids) for ids in sorted((ids for ids in every if len(ids) > 1), key=len, reverse=True))

    def differ() -> Iterable[str]:
        pairs = ((_ids(encoder, text), _without_terminator(encoder, encoder.target(text, True))) for text in texts)
        return (f"{shown(encoder, one)}, apart {shown(encoder, other)}" for one, other in pairs if one != other)

    checks: tuple[tuple[str, Callable[[], Iterable[str]], str, str], ...] = (
        (
            "several_tokens",
            several,
            "Answers are several tokens; the longest first",
            (
                "Nothing to do: they are scored whole, and judged by byte so that length does not decide. See scorers"
                " for other ways."
            ),
        ),
        (
            "naive",
            differ,
            "Tokenised apart, without the text before them, answers are other tokens: the naive target",
            (
                "Students here learn the consistent ones. To see what that is worth, compare a condition with"
                " @target=naive."
            ),
        ),
    )
    return [
        found
        for kind, cases, told, advice in checks
        for found in _finding(kind, cases(), len(texts), "answers", told, advice)
    ]


def _listed(encoder: Encoder, examples: Sequence[Example]) -> list[Finding]:
    """Answers whose tokens are not those of the same text in the list of choices, so that they cannot be copied."""
    cases = []
    for example in examples:
        listing = [token.id for token in encoder.plain(encoder.template.choices_text(example))]
        for text in encoder.template.target_texts(example) if listing else ():
            ids = list(_ids(encoder, text))
            if not any(listing[i : i + len(ids)] == ids for i in range(len(listing))):
                cases.append(f"{shown(encoder, ids)} in {shown(encoder, listing)[:80]}")
                break
    return _finding(
        "listed",
        cases,
        len(examples),
        "questions",
        "An answer is other tokens in the list of choices than as a target, so it cannot be copied",
        "In the template, put a space before {text} (or {label}) in the part 'choice'.",
    )


def _cues(encoder: Encoder) -> list[Finding]:
    cues = {name: getattr(encoder.template, name) for name in ("label_cue", "rationale_cue")}
    return _finding(
        "space",
        (f"{NAMES[name]} {cue!r}" for name, cue in cues.items() if cue.endswith(" ")),
        len(cues),
        "cues",
        "A cue ends with a space, and what follows it begins with one",
        "Take the space off the end of the cue in the template: answers and rationales bring their own.",
    )
