"""Lab 10: batch binding against reactive faults."""
