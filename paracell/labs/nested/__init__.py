"""Lab 9: nested exits counted."""
