"""Where the rationale stands: the order of the named spans of a training sequence, and which of them bear loss."""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.registry import Registry

# Every token of a sequence belongs to one of these.
SEGMENTS = ("bos", "task", "question", "choices", "rationale_cue", "rationale", "label_cue", "label", "end")

# The tags of SCOTT (arXiv 2305.01879): before the teacher's rationale, and before one that argues for a wrong answer.
FACTUAL, COUNTERFACTUAL = "task:factual", "task:counterfactual"

# How a student is asked: straight for the label; after a rationale of its own; after the teacher's.
MODES = ("direct", "own", "given")


@dataclass(frozen=True, slots=True)
class Placement:
    """A registered placement.

    `sequences`: the spans of each training sequence of one example, in order ("task:label" names the task prefix of a
    multitask sequence). `primary`: the mode its students are judged in. `trained`: the modes they were trained for.
    """

    name: str
    help: str
    sequences: tuple[tuple[str, ...], ...]
    primary: str = "direct"
    trained: tuple[str, ...] = ("direct",)
    fixed: tuple[str, int] | None = None
    """A symbol, and how many of it stand where a rationale would, also at test time."""

    @property
    def uses_rationale(self) -> bool:
        return any("rationale" in sequence for sequence in self.sequences)

    def prompt(self, mode: str) -> tuple[str, ...]:
        """The spans before the label when a student of this placement is asked in a mode (for "own": before its own
        rationale).
        """
        # The tag of the sequence that has the label where this mode has it: first, or after a rationale.
        tags = [
            s[:1]
            for s in self.sequences
            if s[0].startswith("task:") and "label" in s and (s[0] != COUNTERFACTUAL or len(self.sequences) == 1)
        ]
        start = (*(tags[-1 if mode != "direct" else 0] if tags else ()), "question", "choices")
        return {
            "direct": (*start, "label_cue"),
            "own": (*start, "rationale_cue"),
            "given": (*start, "rationale_cue", "rationale", "label_cue"),
        }[mode]


PLACEMENTS: Registry[Placement] = Registry("placement")

PROMPT = ("question", "choices")

PLACEMENTS.register(Placement("undistilled", "the student as it is before any distillation", ()))
PLACEMENTS.register(Placement("label_only", "question, then label; no rationale", ((*PROMPT, "label_cue", "label"),)))
PLACEMENTS.register(
    Placement(
        "pre_cot",
        "question, rationale, then label: the student must write a rationale before it answers",
        ((*PROMPT, "rationale_cue", "rationale", "label_cue", "label"),),
        primary="own",
        trained=("own", "given"),
    )
)
PLACEMENTS.register(
    Placement(
        "post_cot",
        "question, label, then rationale: nothing has to be reasoned at test time",
        ((*PROMPT, "label_cue", "label", "rationale_cue", "rationale", "end"),),
    )
)
PLACEMENTS.register(
    Placement(
        "multitask",
        "two prefixed tasks, label and rationale (Distilling Step-by-Step, arXiv 2305.02301)",
        (
            ("task:label", *PROMPT, "label_cue", "label"),
            ("task:rationale", *PROMPT, "rationale_cue", "rationale", "end"),
        ),
    )
)
PLACEMENTS.register(
    Placement(
        "mixed",
        "both orders of every question, told apart by a tag (arXiv 2410.16198)",
        (
            ("task:label", *PROMPT, "label_cue", "label", "rationale_cue", "rationale", "end"),
            ("task:rationale", *PROMPT, "rationale_cue", "rationale", "label_cue", "label"),
        ),
        trained=("direct", "own", "given"),
    )
)
