"""cotdistill: why do rationales help a small student? Train under ablations, compare, look inside."""

__version__ = "0.1.0"
