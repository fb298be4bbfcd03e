"""The results of ``agentmem simulate`` on labelled sets, gathered from its folders into one file.

    agentmem simulate --data DIR --vectors given --output FOLDER [...]
    python benchmarks/simulation.py FOLDER...

docs/simulation.md has the commands.  Writes results/simulation.json, one line a run, numbers to four digits: what the
report needs of it, so nothing of the train split, and no categories of others; the curves and the categories of the
test split are those of the first seed.  It holds measures and counts only, no text and no vector of a set.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import machine

from agentmem.simulation.study.running import HEAD, RESULTS

LEFT_OUT = ("train_losses", "train")
OF_THE_FIRST_SEED = ("dev_losses", "dev_ndcgs", "categories")
SPLITS = ("dev", "transfer")


def short(value: Any) -> Any:
    """Return a value with its numbers to four digits."""
    if isinstance(value, dict):
        return {name: short(each) for name, each in value.items()}
    if isinstance(value, list):
        return [short(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def needed(line: dict[str, Any]) -> dict[str, Any]:
    """Return what the report needs of a run."""
    left_out = LEFT_OUT + (OF_THE_FIRST_SEED if line["seed"] else ())
    kept = {name: value for name, value in line.items() if name not in left_out}
    for split in SPLITS:
        if kept[split]:
            kept[split] = {name: value for name, value in kept[split].items() if name != "categories"}
    return kept


def gathered(folder: Path) -> str:
    """Return a folder's head and lines as JSON, one run a line."""
    lines = [short(needed(json.loads(line))) for line in (folder / RESULTS).read_text(encoding="utf-8").splitlines()]
    lines.sort(key=lambda line: line["key"])
    runs = ",\n".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in lines)
    head = json.dumps(json.loads((folder / HEAD).read_text(encoding="utf-8")))
    return f'{{"head": {head}, "lines": [\n{runs}\n]}}'


def main() -> None:
    """Gather the folders named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    folders = parser.parse_args().folders
    studies = ",\n".join(gathered(folder) for folder in folders)
    text = f'{{"machine": {json.dumps(machine.describe())},\n"studies": [\n{studies}\n]}}\n'
    json.loads(text)
    (machine.RESULTS / "simulation.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
