"""What the hint bar and F1 say of each pane and of its keys."""

LINE_HINTS = (
    ("⏎", "run"),
    ("Tab", "complete"),
    ("↑", "history"),
    ("→", "accept"),
    ("^C", "clear"),
    ("^G", "leave"),
)
"The hint bar while the command line has the keys."

ALWAYS = {"line": "cmd", "menu": "keys"}
"What the hint bar shows however narrow the terminal is."

USEFUL = {
    "code": "next step continue break ablate undo until return reverse-next next-view quit",
    "rank": "enter up ablate mark patch circuit-add order undo next-view find print next quit",
    "tree": "enter=open until=trace up ablate circuit-add next-view undo find next quit",
    "strips": "next-view order up find next quit",
    "page": "enter=onward arrow-left=before arrow-right=after try-text=text try-explanation=score mark ablate quit",
    "heat": "enter=apply order=raw patch ablate undo next-view next quit",
    "attn": "head-before head-after attn-weights attn-values attn-effect attn-layer=heads ablate next-view next quit",
    "edits": "mark=on/off ablate=delete edit-later edit-earlier undo redo next-view next quit",
    "stops": "mark=on/off break next-view next continue quit",
}
"The keys worth showing in each pane, the most useful first; `=` gives what one does there and not elsewhere."


PANES = {
    "code": "The pass as source code: -> is the next line, and what stands below it has not been executed.\n"
    "Δ is what a line adds to the metric, lens what the metric is after it; >> marks the largest change.\n"
    "B a breakpoint, * an edit, C part of the circuit.  s opens a line into its heads or neurons.",
    "rank": "Nodes by what they do to the metric: direct, as the final norm reads their write; total, an estimate of\n"
    "all paths (activation x gradient); measured, really ablated.  Enter: its page; there, why.",
    "attn": "Where a head looks: a row is a query, a column the key that it reads; the token cursor is the row.\n"
    "[ and ] go to the other heads of the layer, { and } to the same head of other layers.\n"
    "A V D L: weights, what they carry, what that does to the metric, every head of the layer.",
    "tree": "What is upstream of the selected frame: each branch moves the one above it.",
    "strips": "Effects summed token by token: embeddings, MLPs, what heads ask from and read at each.",
    "heat": "The last sweep: one edit a cell.  Enter makes the edit of the selected one.",
    "page": "What is known of a component: what is said of it with a score, what it does here and in a corpus.\n"
    "Blue is activation; of a head blue is where it reads, orange what it reads.  [ ] is the peak, < > what it reads.\n"
    "h and l go over a text's tokens; ← → and ⇧↑ ⇧↓ to the components beside it; Enter goes upstream, Esc closes.",
    "inspect": "The selected node: what it reads, what it does to the metric, which tokens it speaks for and against.",
    "next": "The tokens that the model would say next, at the token cursor.",
    "edits": "Edits in the order made: what the metric would lose without one, and what it is after it.\n"
    "Space switches one off, J and K move it, x deletes it, z undoes; name i1 TEXT gives it a name.",
    "stops": "Breakpoints and watches.  Space switches one off, b deletes it.",
    "displays": "Expressions printed after each stop where they have changed: display EXPR adds one.",
    "log": "Every command and its answer: keys too are commands, so that this is a script of the session.",
}
"What each pane shows, for F1."
