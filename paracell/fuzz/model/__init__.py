"""Second opinions that the fuzzer judges by: written from the manuals alone, they share no code with what they judge."""
