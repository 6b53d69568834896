"""The program around published records: the web, exports on disk, the store that they are kept in."""
