"""Compose a study, see what it costs and can detect, launch it, and watch the queue."""

from cotdistill.views import frame, train

frame.page("Train", train.draw)
