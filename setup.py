"""The folders at the top of the repository, installed under one import name; all else stands in pyproject.toml."""

from setuptools import find_packages, setup

ROOMS = ("bench", "objectives", "dashboards")
FOUND = [name for room in ROOMS for name in find_packages(include=[room, f"{room}.*"])]

setup(
    packages=["gatebench", *(f"gatebench.{name}" for name in FOUND)],
    package_dir={"gatebench": "gatebench", **{f"gatebench.{room}": room for room in ROOMS}},
)
