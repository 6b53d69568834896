"""Many prompts: as data, as files, and any table over all of them."""
