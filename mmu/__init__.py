"""Page tables: entry formats, the walker, the TLB.  Pure functions and values over a physical memory."""
