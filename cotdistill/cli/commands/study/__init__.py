"""study: conditions x replicates of one task and one student."""

from cotdistill.cli.command import Noun
from cotdistill.cli.commands.study import archive, plan, show

NOUN = Noun(
    "study",
    "conditions x replicates of one task and one student",
    (*plan.COMMANDS, *show.COMMANDS, *archive.COMMANDS),
)
