"""What others have published about components, read from the bytes that they put up; who fetches these is no matter."""
