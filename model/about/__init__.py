"""What a component is about: the tokens it reads and writes, the role that a head plays."""
