"""Questions about paging, keys, gates, virtual machines and memory policies; the machine's own parts compute the answers.

Each topic is a module with a function ``ask(random)`` that gives one `Question`.  What a question prints is all that one needs to answer
it by hand; `Question.solve` runs the page walker, the checks of VMX or a whole container, and says what decided.
"""
