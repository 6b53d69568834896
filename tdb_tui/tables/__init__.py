"""What is asked of a run, as rows: rankings, two sides, strips, trees, estimates, and their verification."""
