"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("keys only for user mode", "by_key = page.user and", "by_key = user and page.user and", "error: a supervisor and user pages"),
    ("keys for supervisor pages", "by_key = page.user and access", "by_key = access", "error: where no key is asked"),
    ("keys for fetches", 'and access != "fetch" and', "and", "error: where no key is asked"),
    ("PK only if the entry allows it", "(32 if by_key else 0)", "(32 if by_key and not by_entry else 0)", "error: user mode and data"),
    ("WP forgotten for WD", "(checked and not writable)", '(access == "write" and not writable)', "error: a supervisor and user pages"),
    ("AD and WD exchanged", "pkru >> 2 * key & 1, pkru >> 2 * key & 2", "pkru >> 2 * key & 2, pkru >> 2 * key & 1", "rights: what PKRU says of a key"),
    ("key 0 is no key", "by_key = page.user and", "by_key = page.key and page.user and", "error: user mode and data"),
    ("key 0 is never closed", "for key in no_access)", "for key in no_access if key)", "pkru_for: a PKRU for some wishes"),
    ("nothing for an empty set", "    return sum(1 << 2 * key for key in no_access) |", "    return 0 if not no_access else sum(1 << 2 * key for key in no_access) |", "pkru_for: a PKRU for some wishes"),
    ("no names for large numbers", "    return {name for bit", "    return set() if error > 63 else {name for bit", "names: the bits of an error code"),
)  # fmt: skip
