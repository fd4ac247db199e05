"""Protection keys: PKRU and PKS, the rights they give, the scanner for WRPKRU and XRSTOR bytes."""
