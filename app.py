"""Home: what can be asked here, what is running, and what the findings say today."""

from cotdistill.dashboard import frame, home

frame.page("Home", home.draw)
