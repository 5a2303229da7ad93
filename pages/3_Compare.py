"""Accuracies, differences to a baseline with their verdicts, learning curves, and the numbers as a table."""

from cotdistill.views import compare, frame

frame.page("Compare", compare.draw)
