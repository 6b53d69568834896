"""What changes in a pass: ablations, patches, frozen values, steering, paths and edges."""
