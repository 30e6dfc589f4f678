"""Our two classes in the places of TRL's: its own tests, its scripts, a model that reads images."""
