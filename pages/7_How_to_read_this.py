"""How to read this: the terms of the pages."""

from cotdistill.dashboard import frame, reading

frame.page("How to read this", reading.draw)
