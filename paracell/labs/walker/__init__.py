"""Lab 1: a page walker."""
