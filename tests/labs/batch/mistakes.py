"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("all that was asked for counts as bound", "self.idle += reversed(asked[:bound])", "self.idle += reversed(asked)", "Supply: pages that come back, and a host with little memory"),
    ("unbinds are in a hurry", "            del self.idle[: self.batch]\n", "            del self.idle[: self.batch]\n            self.host.request(self.waiting, [])\n            self.waiting = []\n", "Supply: pages that come back, and a host with little memory"),
    ("the newest pages go back", "self.waiting += self.idle[: self.batch]\n            del self.idle[: self.batch]", "self.waiting += self.idle[-self.batch :]\n            del self.idle[-self.batch :]", "Supply: pages that come back, and a host with little memory"),
    ("one page a request", "self.unbound[: self.batch], self.unbound[self.batch :]", "self.unbound[:1], self.unbound[1:]", "Supply: batches, one request each"),
    ("numbers below 0 are pages", "type(page) is int and 0 <= page < self.size", "type(page) is int and page < self.size", "Binder: a hostile kernel"),
    ("a page may be named twice", "if len(set(words)) != len(words):", "if False:", "Binder: a hostile kernel"),
    ("unbinds before the checks", "        if set(bind) & self.bound:", "        self.bound -= set(unbind)\n        self.free += len(unbind)\n        if set(bind) & self.bound:", "Binder: a hostile kernel"),
    ("blocks are not aligned", "(begin + pages - 1) // around - begin // around + 1", "(pages + around - 1) // around", "page_faults and reactive: a page at its first touch"),
    ("a request for each page", "(pages + batch - 1) // batch", "pages", "ahead: pages by requests"),
    ("no limit of a request", "if len(words) > MOST:", "if False:", "Binder: a hostile kernel"),
    ("True is a page", "type(page) is int and 0 <=", "isinstance(page, int) and 0 <=", "Binder: a hostile kernel"),
)  # fmt: skip
