"""`python -m tests.golden`: write the numbers of the tiny suite anew."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.golden.run import FILE, measured, write

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        write(measured(Path(folder)))
    print(FILE)
