"""Events, windows, memories, features, tags and their outcomes: everything as of an instant."""
