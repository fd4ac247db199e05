"""Two runs of one program, aligned by what the program did: where they cross, and what that costs."""
