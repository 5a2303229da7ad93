"""Accuracies, differences to a baseline with their verdicts, learning curves, and the numbers as a table."""

from cotdistill.dashboard import frame
from cotdistill.dashboard.compare import page

frame.page("Compare", page.draw)
