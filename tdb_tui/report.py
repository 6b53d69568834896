"""The whole answer as text: for pipes, logs and screen readers."""

from tdb_tui import lines
from tdb_tui.commands.predicting import likely_rows
from tdb_tui.commands.ranking import ranked_rows
from tdb_tui.formats import metric_text, signed
from tdb_tui.session import Snapshot

BAR = 24
MEASURES = {
    "total": "estimated total effect",
    "direct": "direct effect",
    "measured": "measured effect",
    "patched": "measured effect of prompt B's values",
    "norm": "length of the write",
    "act": "activation",
    "attn": "attention",
}


def report(snapshot: Snapshot) -> list[str]:
    """Title, tokens, next tokens, ranked components and trajectory."""
    info, state = snapshot.info, snapshot.state
    tokens = state.inputs.prompt.tokens
    target = metric_text(snapshot.now.metric, snapshot.tokenizer, state.end)
    return [
        f"tdb-tui  {info.name}  {info.device} {info.dtype}  {target}  {signed(snapshot.now.value)}",
        " ".join(f"{pos}:{snapshot.tokenizer.display(token).strip()}" for pos, token in enumerate(tokens)),
        "",
        "next tokens",
        *likely_rows(snapshot, state.pos, 5),
        "",
        f"ranked components, by {MEASURES[state.rank.by]}",
        *ranked_rows(snapshot, 12),
        "",
        "the metric through the lens after each line",
        *trajectory(snapshot),
    ]


def trajectory(snapshot: Snapshot) -> list[str]:
    """One line a row: name, value, what the line added, and a bar to the same scale."""
    values, deltas = (
        read(snapshot.state.pos) for read in (snapshot.asked.through_lens, snapshot.asked.deltas)
    )
    scale = max(abs(values).max(), 1e-9)
    return [
        f"{lines.name(line, snapshot.n_layer):<4}{signed(value):>9}{signed(delta):>9}  {_bar(value / scale)}".rstrip()
        for line, (value, delta) in enumerate(zip(values, deltas, strict=True))
    ]


def _bar(share: float) -> str:
    return ("█" if share > 0 else "▒") * round(abs(share) * BAR)
