"""The claims of the paper against your runs: verdicts, controls, presenter mode, export."""

from cotdistill.dashboard import frame
from cotdistill.dashboard.findings import page

frame.page("Findings", page.draw)
