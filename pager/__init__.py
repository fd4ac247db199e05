"""Pager: a container's memory bound ahead of its use; in C, in the container kernel (`pager/kernel/`) and in its host (`pager/host/`)."""
