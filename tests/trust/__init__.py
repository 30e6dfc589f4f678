"""What is fed to it, and what befalls its files: nothing breaks it, nothing wrong is recorded, nothing leaks.

`make test` tries a few of each kind, `make test-long` thousands; both count what they tried (tally.py).
"""
