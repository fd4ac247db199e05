"""How systems compare: what a run would have taken at other costs."""
