"""Lab 3: the system call, three ways."""
