"""Lab 6: shadow paging."""
