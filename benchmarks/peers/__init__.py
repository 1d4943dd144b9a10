"""Other ways to have a list of commands run, each put through the same work as ours.

``python -m benchmarks.peers`` installs them, lets each run forty jobs, and says who is there and who is missing.
"""
