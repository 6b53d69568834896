"""What a target was made of: edges between nodes, and the tree of them."""
