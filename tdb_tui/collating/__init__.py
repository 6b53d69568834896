"""The program around a collation: its job, its clock, its signals, its processes."""
