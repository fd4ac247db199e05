"""Lab 8: EPT and the walk of 24 steps."""
