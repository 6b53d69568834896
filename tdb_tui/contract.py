"""What the JSON of each command holds at least.  Keys are stable: later versions only add."""

ENTRY = {
    "schema": "`tdb-tui/1`",
    "n": "number of the command, from 1",
    "cmd": "the command as typed",
    "ok": "whether it succeeded",
    "ms": "how long it took, in milliseconds",
    "result": "what it answers (only where ok); `stale` is true in it where it is of the run before edits that wait",
    "warnings": "list of sentences (only where ok)",
    "error": "`code`, `message`, `hint`, `col` (only where not ok)",
}

RESULTS: dict[str, dict[str, str]] = {
    "mark": {"marks": "nodes picked out, in the order in which they were"},
    "args": {
        "model": "`name`, `n_layer`, `n_head`, `d_model`, `n_ctx`, `n_vocab`",
        "tokens": "list of `{pos, id, text}`",
        "targets": "list of `{id, text}`",
        "distractors": "list of `{id, text}`",
        "device": "`cpu`, `cuda:0`, ...",
        "dtype": "`float32`, ...",
        "metric": "value of the metric",
    },
    "logits": {
        "pos": "token after which the model speaks",
        "rows": "list of `{token, id, logit, logprob, prob, rank}`, rank from 1; targets and distractors always",
    },
    "rank": {
        "target": "`metric`, `text`, `frame`, `pos`, `value`",
        "rows": "list of `{node, kind, layer, index, pos, key, act, write_norm, direct, total, measured, patched, "
        "attn, disagrees, count, explanation, score}`; attn is a pair's weight, or the largest of a head's row; "
        "kind is one of embed wte wpe head pair attn mlp neuron latent error "
        "bias layer token; disagrees is whether measured says other than total; count is how many rows a group adds "
        "up, 1 for a node; explanation is the best that the stores have of the component, score its own; null where "
        "there is none or not computed",
        "balance": "`rows`, `biases`, `rest`, `sum`, `target`, `difference` of the direct effects",
    },
    "compare": {
        "sides": "`left` (`now`) and `right` (`base`, `B` or a file's name)",
        "by": "the measure that the rows are ordered by",
        "joined_by": "`address`, or `role` where tokens are matched",
        "partners": "each token's partner on the right, -1 where it has none",
        "target": "`left`, `right`, `difference` of what is asked about",
        "sums": "the same of `direct` and `total` over all rows",
        "counts": "rows `both` sides have, `only_left`, `only_right`",
        "rows": "list of `{node, kind, layer, index, pos, key, left, right, ...}` with `_left`, `_right` and "
        "`_difference` of act, write_norm, direct, total and measured; null where a side lacks the node",
    },
    "strips": {
        "target": "`text`, `value`",
        "by": "`total` or `direct`",
        "rows": "list of `{pos, text, embed, mlp, query, key, unpaired, value_bias, biases, edits}`, one a token; "
        "`edits` is what edits of the residual stream have added; with `against` differences, and `right_pos`",
        "sums": "of each over the tokens; `sum` is embed + mlp + query + biases + edits",
    },
    "trace": {
        "frame": "`number`, `description`",
        "value": "the scalar that the frame asks about",
        "target": "as `rank` gives it, and `rows` and `balance`",
    },
    "lens": {
        "pos": "token at which it is read",
        "rows": "list of `{line, ld, delta, target_rank, top}`, one a line: `E`, `A0`, `M0`, ..., `U`; rank from 1",
    },
    "attn": {
        "head": "its address; of a layer, `layer` and `heads` `[head][key]` in its place",
        "query": "the query spoken of",
        "pattern": "`[query][key]`",
        "by": "`weights`, `values`, `effect` or `layer`; of the middle two also `values` `[query][key]`",
    },
    "ablate": {
        "intervention": "`id`, `command`",
        "before": "metric before",
        "after": "metric after; null where it waits to be run",
        "delta": "after minus before; of error terms at every token also `cross_entropy` of the prompt: `clean`, "
        "`spliced` with what the SAEs put out in place, `zero` with zeros there, and the share `recovered`",
    },
    "patch": {
        "intervention": "`id`, `command`",
        "before": "metric before",
        "after": "metric after; null where it waits to be run",
        "delta": "after minus before",
    },
    "sweep": {
        "axes": "list of two `{name, labels}`: rows, columns",
        "values": "the metric after the edit, `[row][column]`; null where there is no cell or it was not measured",
        "baseline": "the metric without the edit; over prompts the mean",
        "other": "that of the run at 1; null where there is none",
        "effects": "value minus baseline",
        "normalised": "effect over other minus baseline; null where there is no scale",
        "ends": "what stands at `0` and `1`: `A`, `B`, `example 3`",
        "nodes": "what each cell edits, and `commands` the line that does it; empty where there is none",
        "shown": "`normalised` or `effects`; `low`, `high`, `n` are of it, over prompts",
        "prompts": "how many",
    },
    "edge": {
        "intervention": "`id`, `command`",
        "before": "metric before",
        "after": "metric after; null where it waits to be run",
        "delta": "after minus before; of `edge keep` also `circuit`: `edges`, and the metric with those `kept`, the "
        "`whole` and `none` of them, and `faithfulness`, (kept - none) / (whole - none)",
    },
    "path": {
        "before": "metric before; of an edit also `intervention`, `after`, `delta`, and of `path all` `receivers`, "
        "`meaning`, `manner`, `correlation` and `rows`, a list of `{sender, kind, layer, index, effect, value, way, "
        "estimate}`, the strongest first; way is the part of the way from A to B, null for ablations",
    },
    "freeze": {
        "intervention": "`id`, `command`",
        "before": "metric before",
        "after": "metric after; null where it waits to be run",
        "delta": "after minus before",
    },
    "steer": {
        "intervention": "`id`, `command`",
        "before": "metric before",
        "after": "metric after; null where it waits to be run",
        "delta": "after minus before",
    },
    "swap": {"value": "the metric now", "other": "the metric of B"},
    "align": {
        "lengths": "tokens of A and of B",
        "differing": "how many places differ",
        "partners": "each of A's tokens' counterpart in B, -1 where it has none",
        "rows": "list of `{a, b, same, role}`; a and b are `{pos, text}` or null",
    },
    "print": {"value": "number, text, truth, or a node's `node`, `act`, `write_norm`, `direct`, `total`"},
    "next": {
        "line": "name of the line to be executed next; null at the end",
        "number": "its number",
        "inside": "row of an opened line, else null",
        "delta": "what was last executed added to the metric through the lens",
        "ld": "the metric through the lens so far",
        "stopped_by": "`b1`, `w2`, `start`, `end` or null",
    },
    "prompts": {
        "set": "`text` (what loads it), `name`, `seed`, `count`",
        "current": "number of the example that prompt A is, from 1, or null",
        "roles": "names of roles, in order of appearance",
        "lengths": "fewest and most tokens of a prompt",
        "rows": "list of `{prompt, targets, distractors, roles, counterfactual, template}`, every example",
    },
    "over": {
        "set": "as `prompts` gives it",
        "table": "`metric`, `rank`, `lens`, `attn`, `roles`, `print`, `logits`, `strips`, `why`, `feeds`, `upstream`",
        "measure": "what the numbers are: `direct`, `lens`, `attention`, ...",
        "bootstrap": "`resamples`, `seed`, `level` of the interval",
        "metric": "`mean`, `sd`, `low`, `high`, `sign`, `n` of the prompts' metric",
        "rows": "list of `{row, mean, sd, low, high, sign, n}`; of `rank` also `kind`, `layer`, `index`, `role`, "
        "`key`, of `logits` `token`, `id`; of `by direct` there is a `balance` as in `rank`, and of `metric` the "
        "`values` of all prompts",
    },
    "top": {
        "node": "its address",
        "up": "list of `{token, id, effect}`, in logits, with `--scores` also `score`; `top NODE in` is as `drives`",
        "down": "the same",
        "left_out": "how many rare tokens are not among the lists",
    },
    "examples": {
        "node": "its address",
        "sampling": "`top`, `quantile` or `random`",
        "rows": "list of `{tokens, activations, peak, key, value, source}`; activations are `[pos]`, of a head "
        "`[query][key]`; key is null but for heads",
        "max": "the largest activation in the corpus",
        "density": "the share of tokens at which it is above zero; null for heads and MLPs",
        "count": "how many tokens were counted, pairs of tokens for heads; 0 where a publisher did not say",
        "published": "`{name, about, fault}` of who published it; null for what was collated",
    },
    "explain": {
        "node": "its address",
        "rows": "list of `{text, score, method, model, n, scores}`, best first; `n` is how many held-out sequences the "
        "score is taken over, `scores` has every score by its name; `score` is null where none could be taken",
        "careful": "method -> what to know of scores that were published",
    },
    "find": {
        "words": "as they were understood",
        "rows": "list of `{node, field, text, rank, explanation, score}`, best first; field is `explanation`, `note`, "
        "`promoted`, `peak` or `context`; explanation is the component's best, null where it has none",
    },
    "drives": {
        "node": "its address",
        "reads": "list of `{side, pos, up, down}`, one a token that it reads; up and down as `top` gives them",
        "left_out": "how many rare tokens are not among the lists",
    },
    "ov": {
        "head": "its address",
        "product": "the matrices",
        "convention": "what is folded in and left out",
        "score": "eigenvalues' sum over their absolute sum",
        "values": "singular values, largest first",
        "rows": "list of `{value, share, read, write}`, the leading pairs; read and write have `up` and `down`",
        "left_out": "how many rare tokens are not counted",
    },
    "qk": {"head": "its address", "score": "as `ov` gives it", "values": "the same", "rows": "the same"},
    "compose": {
        "head": "its address",
        "chance": "what random matrices come to",
        "rows": "list of `{head, layer, index, q, k, v}`, earlier heads, the strongest first",
    },
    "why": {
        "node": "the pair of query and key",
        "score": "before the softmax",
        "rest": "the score of what it is compared with: the mean of the other keys, or that `against`",
        "contrast": "score minus rest",
        "attention": "the weight that came of it",
        "rows": "list of `{side, node, kind, layer, index, pos, score, contrast}`; side is q or k, each adding up",
        "balance": "of q and k, `score` and `contrast` each: `rows`, `biases`, `rest`, `sum`, `target`, `difference`",
    },
    "feeds": {
        "rows": "list of `{input or node, kind, layer, index, pos, via, edge}`, the strongest first",
        "balance": "`rows`, `rest`, `sum`, `target`, `difference`; target is the total effect, or null",
    },
    "upstream": {
        "tree": "`{id, node, via, effect, opens, children}`, children alike; an id is the way from the root, `0.2.1`",
        "dot": "the same for graphviz",
    },
    "fold": {"tree": "as `upstream` gives it", "dot": "likewise"},
    "view": {"view": "the pane's name"},
    "circuit": {
        "circuit": "name of the one in use, or null",
        "nodes": "addresses, after all but list and drop",
        "edges": "list of `{from, to, via}`, likewise",
        "saved": "whether a file holds it, likewise",
    },
    "token": {"pos": "where the token cursor is"},
    "generate": {
        "tokens": "ids",
        "text": "what they say",
        "rows": "list of `{step, id, token, p, metric, base_id, base_token, base_p, base_metric}`; metric is of the "
        "logits that the token is taken from, null where it is not of logits alone; those of the baseline are null "
        "where nothing is edited",
        "base": "`tokens` and `text` without the edits; null where it is the same or alone",
        "stopped": "whether it was stopped before its last token; what had come is there",
    },
    "edits": {
        "base": "the metric without edits",
        "value": "the metric now",
        "rows": "list of `{id, name, enabled, command, marginal, cumulative}`; marginal is the metric now minus the "
        "metric without this one, cumulative the metric after this one and those above; null where it is off",
    },
    "checkpoint": {"checkpoints": "list of `{name, value, edits, prompt}`, after the command"},
    "diff": {
        "sides": "`left` and `right`; every `difference` is right minus left",
        "metric": "`text`, `left`, `right`, `difference`",
        "logits": "list of `{token, id, left, right, difference, prob_left, prob_right}`",
        "by": "the measure of the nodes",
        "nodes": "list of `{node, label, side, left, right, difference}`, those that changed most",
        "attention": "list of `{head, moved, key, left, right, difference}`; moved is the total variation at the "
        "metric's token, the rest of the key (of the left run) whose weight changed most",
        "text": "`left` and `right`: `tokens`, `text`",
    },
    "assert": {
        "expression": "as typed",
        "message": "as typed, or empty",
        "values": "what is compared -> its value",
    },
    "commands": {"commands": "stop -> its commands, joined by `;;`; of one stop `stop` and `lines`"},
    "whynot": {
        "flips": "whether a set was found with which the logit difference changes its sign",
        "method": "how the set was found",
        "before": "the logit difference before",
        "after": "the same with the set, or the best found, patched",
        "rows": "list of `{node, alone, in_set, metric_alone, metric_without}`: what a node does alone, and what the "
        "set would lose without it",
        "candidates": "how many nodes there were",
        "exhausted": "whether every part of the set has been tried",
        "command": "what makes the set, null where there is none",
        "top": "`before` and `after`: `id`, `token`, `prob` of the likeliest next token; null where there is no set",
    },
    "estimates": {
        "target": "what is asked about",
        "recipe": "`steps`, `rule`, `from` (what ig, drop, q, k and v put in a node's place: zero or B)",
        "criteria": "when a row is marked, and which reason is given",
        "rows": "list of `{node, kind, total, measured, ig, drop, drop_signed, q, k, v, q_linear, k_linear, atp, "
        "patched, reason, reason_b, evidence, evidence_b}`: the target minus the target with the node edited; null "
        "where there is none or not computed; evidence is of changes of the target, and its shares add up to the gap",
    },
    "repair": {
        "target": "`text`, `before`, `after`, `change`",
        "rows": "list of `{node, place, before, after, change, own, scale}`; place is edited, downstream or elsewhere",
        "sums": "the same numbers added up over `edited`, `downstream`, `elsewhere`, and `sum` of all",
        "difference": "of the changes' sum and the target's change",
        "joint": "`together`, `singles` (`change`, `effect`), `sum`, `excess`; null for a single change",
    },
    "roles": {
        "rows": "list of `{head, on, role, score, previous-token, duplicate-token, induction, first-token, copying, "
        "raised, evidence}`; on is random or prompt, evidence `query`, `key`, `strength`, `sequence`, `queries`",
    },
    "verify": {
        "rows": "list of `{group, what, shown, text, float64, difference, digit, flag}`; group is one of metric logits "
        "lens rank attention books, digit half of the last displayed one, flag `rounding`, `wrong` or null",
        "ok": "whether all was verified and no digit flagged",
        "noise_floor": "in logits: what the run's dtype does to them",
        "transformers": "`version`, `difference`, of its logits; null where it is not compared with",
        "not_verified": "list of sentences",
    },
    "undo": {"value": "the metric now"},
    "redo": {"value": "the metric now"},
}
"Commands that move (step, return, until, continue, jump, rn, rs, rc) answer as `next` does."
