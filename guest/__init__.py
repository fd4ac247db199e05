"""What runs inside the machine, and the loaders that put it there."""
