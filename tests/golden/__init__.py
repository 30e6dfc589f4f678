"""A golden run: the numbers that every stage of a tiny suite gave when they were last written down (tiny.json).

`python -m tests.golden` writes them anew; `run.compare` says what has to be done where they differ.
"""
