"""The speed table: each row beside its floor, measured in the same run."""
