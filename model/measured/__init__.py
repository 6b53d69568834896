"""What really becomes of a target when something is edited: reruns, as short as they can be."""
