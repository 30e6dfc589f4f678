"""`python -m tests.golden`: run the tiny suite and write its numbers down."""

import os

for name, value in (("HF_HUB_OFFLINE", "1"), ("OMP_NUM_THREADS", "1")):  # as tests do
    os.environ.setdefault(name, value)

if __name__ == "__main__":
    from tests.golden.run import GOLDEN, write_anew

    write_anew()
    print(f"wrote {GOLDEN}")
