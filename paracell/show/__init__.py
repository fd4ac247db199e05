"""What happened, as one HTML file: traces, snapshots, and what compares them."""
