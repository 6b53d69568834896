"""The store that comes with the demo model: what its components do in text that it was not trained on."""

from pathlib import Path

STORE = Path(__file__).parent / "gpt2-demo.store"
