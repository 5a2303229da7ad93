"""The claims of the paper against your runs: verdicts, controls, presenter mode, export."""

from cotdistill.views import findings, frame

frame.page("Findings", findings.draw)
