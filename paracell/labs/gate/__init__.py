"""Lab 4: a gate that can be attacked, then repaired."""
