"""The journal of a session: every command, written down as it is carried out, so that nothing ends with the program."""
