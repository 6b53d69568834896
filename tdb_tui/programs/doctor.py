"""`tdb-tui doctor`: what this machine and this terminal have."""

from tdb_tui.programs import make_app

app = make_app()


@app.command()
def doctor() -> int:
    """Print versions, devices, what the terminal can do, and which models are here."""
    from tdb_tui.machine.doctor import as_text, report

    print(as_text(report()))
    return 0
