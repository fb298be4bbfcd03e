"""The measured tables of the README, docs/quality.md and docs/attention.md, rendered from benchmarks/results/*.json.

    python benchmarks/tables.py [--check]

Rewrites what stands between ``<!-- measured: NAME -->`` and ``<!-- end -->``; with ``--check`` it only says whether the
pages agree with the results, by its exit code.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "quality.md", ROOT / "docs" / "attention.md")
BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def load(name: str) -> dict[str, Any]:
    """Return the results of one benchmark."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def machine_line(result: dict[str, Any]) -> str:
    """Return the machine of a result in one line."""
    machine = result["machine"]
    blas = machine["blas"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {', '.join(machine['flags'])}; Python {machine['python']}, "
        f"NumPy {machine['numpy']} ({blas.get('name')}, core type {blas.get('core_type')}), "
        f"hnswlib {machine['hnswlib']}, SQLite {machine['sqlite']}"
    )


def quality() -> str:
    """Recall@10 and NDCG@10 of every pipeline on every set."""
    result = load("quality")
    pipelines = ("dense", "lexical", "rrf", "convex", "auto")
    rows = []
    for name, measured in result["sets"].items():
        cells = [f"{measured[p]['recall@10']:.3f} / {measured[p]['ndcg@10']:.3f}" for p in pipelines]
        change = measured["auto"]["against_dense"]
        gain = f"{change.get('recall@10', 0):+.0%} / {change.get('ndcg@10', 0):+.0%}"
        rows.append([name, *cells[:-1], f"**{cells[-1]}**", gain])
    header = ["set / vectors", *pipelines[:-1], "**default**", "default against dense"]
    return table(header, rows) + (
        f"\n\nrecall@10 / NDCG@10, {result['split']} queries, default settings, through the store's own search; "
        "`dense` is exact. `python benchmarks/quality.py --data DIR ...`"
    )


def speed() -> str:
    """Every speed as a ratio or a time, with the command that measures it."""
    vector, filtered, rerank = load("vector_search"), load("filtered"), load("rerank")
    pipeline, ingest, startup, words = load("pipeline"), load("ingest"), load("startup"), load("lexical")
    rows = []
    for pair in vector["equal_recall"]:
        if pair["hnswlib_ef"] in (80, 120, 200):
            rows.append(
                [
                    f"vector search with records, {vector['rows']:,} × 384, at the recall of hnswlib's ef "
                    f"{pair['hnswlib_ef']}",
                    f"{pair['ratio']['agentmem']:.2f}× the time of `hnswlib.knn_query` "
                    f"({pair['ratio']['agentmem again']:.2f}× where the records were read before)",
                    "`vector_search.py`",
                ]
            )
    at_80 = next(row for row in vector["by_ef"] if row["ef"] == 80)
    glue, walk = at_80["glue_us"], at_80["median_us"]["agentmem index only"]
    rows.append(
        [
            "what surrounds the walk of the graph in such a search: validation, transaction, hooks, 10 records",
            f"{glue['agentmem']:.0f} µs, {glue['agentmem again']:.0f} µs where the records were read before "
            f"(the walk of ef 80: {walk:.0f} µs)",
            "`vector_search.py`",
        ]
    )
    for share in filtered["by_share"]:
        faster, recall = share["times_faster"], share["recall"]
        rows.append(
            [
                f"the same behind a filter that passes {share['percent']}% (recall {recall['agentmem']:.3f}, hnswlib "
                f"{recall['hnswlib']:.3f})",
                f"{faster['whole call']:.1f}× faster than hnswlib's Python filter (index alone "
                f"{faster['index only']:.1f}×, first call {faster['first call']:.1f}×)",
                "`filtered.py`",
            ]
        )
    for share in words["by_rows"]:
        rows.append(
            [
                f"30 lexical candidates of {share['rows']:,} turns ({share['shared_of_30']:.1%} are FTS5's)",
                f"{share['times_faster']:.0f}× faster than FTS5's bm25()",
                "`lexical.py`",
            ]
        )
    for case, measured in rerank["cases"].items():
        medians = measured["medians_us"]
        ratio = medians["numpy"] / medians["agentmem"]
        rows.append([f"attention, {case}", f"{ratio:.1f}× the speed of NumPy", "`rerank.py`"])
    for row in pipeline["by_rows"]:
        rows.append(
            [
                f"default search from text to records, {row['rows']:,} turns",
                f"p50 {row['p50_ms']:.2f} ms, p95 {row['p95_ms']:.2f} ms (dense alone {row['dense_p50_ms']:.2f} ms)",
                "`pipeline.py`",
            ]
        )
    bulk = ingest["bulk"]
    for name in ("vectors", "vectors and texts"):
        rows.append(
            [
                f"bulk add of {bulk['rows']:,} {name}, graph built, {bulk['threads']} thread",
                f"{bulk[name]['share_of_hnswlib_speed']:.0%} of raw hnswlib `add_items`",
                "`ingest.py`",
            ]
        )
    for durability in ("normal", "full"):
        single = ingest[f"single_{durability}"]
        ours, bare = single["agentmem"], single["bare"]
        share = f"{ours['per_second'] / bare['per_second']:.0%} of bare SQL statements"
        if durability == "full":
            ours_share, bare_share = (each["per_second"] / ingest["disk_syncs_per_second"] for each in (ours, bare))
            share += f", {ours_share:.0%} of the disk's syncs ({bare_share:.0%} by bare SQL statements)"
        rows.append(
            [
                f"single adds, each committed, durability {durability}",
                f"{ours['per_second']:,.0f} a second, p99 {ours['p99_us'] / 1e3:.2f} ms; {share}",
                "`ingest.py`",
            ]
        )
    for name in ("warm", "cold"):
        if name in startup:
            rows.append(
                [
                    f"open and first vector search, {startup['rows']:,} records, {name}",
                    f"{startup[name]['together_ms']:.1f} ms",
                    "`startup.py`",
                ]
            )
    return (
        table(["what", "measured", "command"], rows)
        + f"\n\n{machine_line(vector)}. Medians of interleaved runs, one thread."
    )


def size() -> str:
    """Disk and memory a record."""
    bulk, startup = load("ingest")["bulk"], load("startup")
    measured = bulk["vectors and texts"]
    budget = 3 * measured["raw_vector_bytes"] + 2 * measured["text_bytes"]
    records = bulk["rows"]
    raw = (measured["raw_vector_bytes"] + measured["text_bytes"]) / records
    own = startup["warm"]["private_growth_kb"]
    rows = [
        ["disk a record, database and index", f"{measured['disk_bytes'] / records:,.0f} bytes"],
        ["its float32 vector and its text alone", f"{raw:,.0f} bytes"],
        ["disk against 3 × vectors + 2 × text", f"{measured['disk_bytes'] / budget:.2f}"],
        [
            f"a process's own memory, {startup['rows']:,} records open and searched",
            f"{own / 1024:.1f} MiB, {own * 1024 / startup['rows']:,.0f} bytes a record",
        ],
    ]
    note = "`ingest.py`, `startup.py`; the mapped index is shared by all processes and not counted here."
    return f"{table(['what', 'measured'], rows)}\n\n{note}"


def _cell(entry: dict[str, Any]) -> str:
    """Return a pipeline's change of NDCG@10 on one set, in bold where its interval leaves 0 out."""
    if "reason" in entry:
        return "not run"
    change = entry["against"]["ndcg@10"]
    if not change["win"] + change["loss"]:
        return "="
    if change["relative"] is None:
        return f"{change['difference']:+.3f}"
    low, high = change["relative_ci95"]
    text = f"{change['relative']:+.1%} [{low:+.1%}, {high:+.1%}]"
    return f"**{text}**" if entry["verdict"] in ("gain", "loss") else text


def leaderboard() -> str:
    """NDCG@10 of every mechanism as the rerank, against exact dense search, on every set."""
    result = load("leaderboard")
    sets = result["sets"]
    names = sorted(result["pipelines"], key=lambda name: -result["mean_relative"].get(name, -1.0))
    rows = [["dense, NDCG@10", *(f"{each['pipelines']['dense']['ndcg@10']:.3f}" for each in sets.values())]]
    rows += [[name, *(_cell(each["pipelines"][name]) for each in sets.values())] for name in names if name != "dense"]
    reasons = {
        f"`{name}` on {where}: {entry['reason']}"
        for where, each in sets.items()
        for name, entry in each["pipelines"].items()
        if "reason" in entry
    }
    lacking: dict[str, list[str]] = {}
    for where, each in sets.items():
        for name, entry in each["pipelines"].items():
            if entry.get("lacking"):
                lacking.setdefault(f"`{name}` without {', '.join(entry['lacking'])}", []).append(where)
    notes = [f"* {reason}" for reason in sorted(reasons)]
    notes += [f"* {what}: {', '.join(where)}" for what, where in sorted(lacking.items())]
    told = "\n\nNot run, and run without inputs that they take:\n\n" + "\n".join(notes) if notes else ""
    return table(["rerank", *sets], rows) + (
        "\n\nRelative change of NDCG@10 against exact dense search with its 95% interval (paired bootstrap over the "
        f"queries, seed {result['seed']}); in bold where it leaves 0 out; `=`: no query changed. Vectors: "
        + ", ".join(f"{name} {each['vectors']}" for name, each in sets.items())
        + f". {result['split']} queries. `python benchmarks/leaderboard.py --data-root DIR`"
        + told
    )


def relevance() -> str:
    """How far the relevance of hits is off, by mechanism and set."""
    result = load("relevance")
    names = list(result["lines"])
    rows = []
    for where, measured in result["sets"].items():
        cells = [f"{measured[name]['ece']:.3f}" if name in measured else "" for name in names]
        default = measured["hierarchy-heads" if "hierarchy-heads" in measured else "memory-heads"]
        rows.append([where, f"{default['right']:.1%}", f"{default['relevance']:.1%}", *cells])
    return table(["set / vectors", "right", "said", *names], rows) + (
        "\n\nExpected calibration error over the ten best hits of each test query, ten bins; `right`: share of the "
        "default's hits that are right, `said`: its mean relevance. `python benchmarks/relevance.py --data-root DIR`"
    )


def unseen() -> str:
    """NDCG@10 of the default against the best of the others, on collections that nothing was tuned on."""
    result = load("unseen")
    pipelines = ("dense", "lexical", "rrf", "convex", "auto")
    rows, means = [], []
    for vectors in ("static", "given"):
        measured = {name: each for name, each in result["sets"].items() if name.endswith(vectors)}
        for name, each in measured.items():
            low, high = each["ci95"]
            cells = [f"{each['ndcg'][p]:.3f}" for p in pipelines]
            cells[-1] = f"**{cells[-1]}**"
            rows.append([name, *cells, f"{each['best']}: {each['change']:+.1%} [{low:+.1%}, {high:+.1%}]"])
        if measured:
            mean = sum(each["change"] for each in measured.values()) / len(measured)
            means.append(f"{mean:+.1%} with {'the bundled model' if vectors == 'static' else result['model']}")
    sizes = [each["documents"] for each in result["sets"].values()]
    return table(["set / vectors", *pipelines[:-1], "**default**", "against the best of the four"], rows) + (
        f"\n\nNDCG@10; {min(sizes):,} to {max(sizes):,} documents and 250 queries a set; 95% interval by paired "
        f"bootstrap over the queries. Mean: {', '.join(means)}. Given: vectors of {result['model']}. "
        f"Python {result['machine']['python']}. `python benchmarks/unseen.py --model FOLDER`"
    )


def _goal(got: float, goal: float | None) -> str:
    """Return a ratio beside its goal, if it has one, and whether it was reached."""
    if goal is None:
        return f"{got:.2f}×"
    return f"{got:.2f}×, goal {goal:g}× {'reached' if got >= goal else '**missed**'}"


def attention() -> str:
    """How fast attention is beside NumPy and PyTorch, what threads and coded keys bring, and every goal."""
    result, flash = load("attention"), load("flash")
    rows = []
    for name, case in result["cases"].items():
        cells = [
            _goal(case["times_faster"][rival], case["goal"].get(rival)) if rival in case["times_faster"] else ""
            for rival in ("numpy", "torch")
        ]
        rows.append([name, f"{case['medians_us']['agentmem']:,.1f} µs", *cells])
    beside = table(["384 numbers a row", "time", "faster than NumPy", "faster than PyTorch"], rows)
    more = [[f"two threads: {name}", _goal(case["ratio"], 1.6)] for name, case in result["threads"].items()]
    for name, case in result["low_precision"].items():
        for kind in ("int8", "bf16"):
            error = case["relative_error"][kind]
            more.append(
                [f"10,000 keys in {kind}: {name}", f"{_goal(case['times_faster'][kind], 1.5)}, error {error:.1e}"]
            )
    for name, target in result["targets"].items():
        verdict = "reached" if target["reached"] else "**missed**"
        more.append([name, f"{target['ms']:.3f} ms, goal {target['goal_ms']:g} ms {verdict}"])
    start = load("mechanisms")["start"]["import_and_first_call_ms"]
    verdict = "reached" if start < 100 else "**missed**"
    more.append(["import after NumPy's, and first call (`mechanisms.py`)", f"{start:.0f} ms, goal 100 ms {verdict}"])
    for target in flash["targets"]:
        verdict = "reached" if target["reached"] else "**missed**"
        more.append([f"flash runner: {target['name']}", f"{target['measured']:.2f}, goal {target['goal']:g} {verdict}"])
    return (
        f"{beside}\n\n{table(['what', 'measured'], more)}\n\n{machine_line(result)}; kernels x86-64-v{result['isa']}, "
        f"PyTorch {result['torch']}. Medians of interleaved runs, one thread but where two are named"
        f"{'; two threads: ' + result['threads_of'] if 'threads_of' in result else ''}. "
        "`python benchmarks/attention.py`"
    )


def limits() -> str:
    """What this machine allows: every goal of speed with the least time that its work can take."""
    result = load("limits")
    rows = []
    for goal in result["goals"]:
        verdict = goal["verdict"] if goal["verdict"] == "reached" else f"**{goal['verdict']}**"
        rows.append(
            [
                goal["name"],
                f"{goal['goal']:g}× {goal['rival']}",
                f"{goal['ratio']:.2f}×",
                f"{goal['us']:,.1f} µs",
                f"{goal['least_us']:,.1f} µs",
                goal["bound"],
                f"{goal['best_ratio']:.2f}×",
                verdict,
            ]
        )
    header = ["what", "goal", "measured", "time", "least time", "bound by", "at most", "verdict"]
    machine, of = result["machine"], result["limits"]
    reads = ", ".join(f"{speed:,.0f} from {size}" for size, speed in of["read_gb_a_second"].items())
    return table(header, rows) + (
        f"\n\n{machine['cpu']}, one core: {of['multiply_adds_gflops']:.0f} GFLOP/s of float32 multiply-adds; GB/s "
        f"read: {reads}; an empty call {of['empty_call_us']:.2f} µs; a thread's start and end {of['thread_us']:.0f} "
        f"µs. PyTorch {result['torch']}. `python benchmarks/limits.py`"
    )


RENDER: dict[str, Callable[[], str]] = {
    "quality": quality,
    "speed": speed,
    "size": size,
    "leaderboard": leaderboard,
    "relevance": relevance,
    "unseen": unseen,
    "attention": attention,
    "limits": limits,
}


def rendered(text: str) -> str:
    """Return a text with its measured blocks rendered anew."""
    return BLOCK.sub(lambda match: f"{match[1]}\n{RENDER[match[2]]()}\n\n{match[3]}", text)


def rewrite(*, check: bool = False) -> bool:
    """Bring the pages up to the results, or with ``check`` leave them; return whether one differed."""
    differs = False
    for page in PAGES:
        before = page.read_text()
        after = rendered(before)
        differs |= before != after
        if not check:
            page.write_text(after)
    return differs


def main() -> int:
    """Rewrite the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a page differs")
    check = parser.parse_args().check
    return int(rewrite(check=check) and check)


if __name__ == "__main__":
    sys.exit(main())
