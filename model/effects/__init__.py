"""What nodes do to a target: direct and estimated effects, from one recorded run."""
