"""ParaCell: x86-64 paging and protection keys emulated in plain Python, and the containers that live on them."""

__version__ = "0.1.0"
