"""One student in every mode, and after every test of the rationale that it reads."""

from __future__ import annotations

from dataclasses import dataclass

from cotdistill.config import param
from cotdistill.rationales.perturbations import PERTURBATIONS, SHARES
from cotdistill.store.records import Job, JobSpec
from cotdistill.studies.analysis import WRITTEN_PASSES, AnalysisConfig, analysis, student_seconds

COLUMNS = {
    "example": "id of the question",
    "cluster": "what it belongs to",
    "rationale": "given: the teacher's; own: the student's",
    "test": "what was done to it; intact: nothing",
    "share": "share of its tokens that the test asked for; 1 where a test is made at one point",
    "tokens": "tokens of the intact rationale; 0: there is none",
    "touched": "tokens of it that were cut, moved or replaced; 0 where the test cannot be made",
    "predicted": "index of the choice that the student prefers",
    "correct": "whether it is the right one",
    "p_gold": "probability of the right one among the choices",
    "changed": "whether it is another one than after the intact rationale",
    "control_predicted": "the same after as many random tokens; empty for the control itself and for the intact "
    "rationale",
    "control_correct": "as above",
    "control_p_gold": "as above",
    "control_changed": "as above",
}


@analysis(
    "modes",
    "ask a student in every mode and perturb the rationale that it reads",
    "cotdistill.execution.jobs.modes:modes",
    tables={"predictions": {}, "answers": COLUMNS},  # predictions: as those of a training run, with every mode
    splits=("test",),
    examples=0,
)
@dataclass(frozen=True)
class ModesConfig(AnalysisConfig):
    """One trained student asked on test."""

    tests: tuple[str, ...] = ()  # names of `perturbations`
    shares: tuple[float, ...] = SHARES  # of the graded tests
    examples: int = 0  # the first so many of the split by id; 0: all
    source: str = ""  # whose rationales are given
    # Whose rationales say the same in other words, for the test of that name; empty: the rules of a generated task.
    paraphrases: str = param("", "source of the paraphrases", later=True)

    def title(self) -> str:
        questions = f"{self.examples:,} questions" if self.examples else "all questions"
        return f"modes and tests of the rationale, {questions}"

    def spec(self, job: Job, questions: int = 0) -> JobSpec:
        """The job that asks a student. questions: rows of the test split, for the estimate of the time."""
        # Three modes, and each point of each test with its control for both rationales.
        points = sum(len(self.shares) if PERTURBATIONS.get(name).graded else 2 for name in self.tests)
        passes = (self.examples or questions) * (3 + WRITTEN_PASSES + 2 * points)
        return self.job_spec(job, student_seconds(job, passes))
