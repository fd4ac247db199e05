"""Lab 2: protection keys and their error codes."""
