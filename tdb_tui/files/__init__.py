"""What is written to files and read back: sessions, scripts, edits, kept runs."""
