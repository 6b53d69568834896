"""This machine: models and where they are fetched from, devices, the terminal."""
