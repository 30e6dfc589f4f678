"""Pages of the documentation that are read from the code at every build, so that they cannot fall behind it."""
