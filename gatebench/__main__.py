"""`python -m gatebench`: the command `bench`."""

from gatebench.bench.cli import main

if __name__ == "__main__":
    main()
