"""Lab 5: demand paging and copy-on-write."""
