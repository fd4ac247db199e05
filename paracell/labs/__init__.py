"""The labs: a hand-out, a skeleton, tests that run against the machine, and hints for each; solutions are not shipped."""
