"""The commands, one module each, with a `command` that `paracell.cli` finds."""
