"""Lab 7: a VM exit handler."""
