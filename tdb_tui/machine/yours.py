"""Where a user's own stores are kept, from one session to the next."""

from platformdirs import user_data_path

from tdb_tui.stores import Yours


def your_stores(model: str) -> Yours:
    """Notes and explanations about a model, of a user who has named no store."""
    return Yours(user_data_path("tdb-tui") / "stores", model)
