"""Attention over blocks: one call with its time, a comparison with the textbook, and the targets as measured here.

python examples/flash_attention.py
"""

import numpy as np

from agentmem.attention.flash import FlashAttention


def main():
    """Attend once, compare three sizes, and return the output and the comparisons."""
    rng = np.random.default_rng(0)
    flash = FlashAttention(dim=128)
    keys = rng.standard_normal((1000, 128), np.float32)
    output, seconds, backend = flash.optimize(keys[7], keys)
    print(f"1,000 keys: {seconds * 1e6:.0f} µs on {backend}; nearest to the output: row {(keys @ output).argmax()}")

    cases = [flash.compare(n, n_queries=16, iterations=10) for n in (100, 1000, 4000)]
    for case in cases:
        print(
            f"16 queries × {case.n_keys:,} keys: {case.speedup:.1f}× the textbook's speed, "
            f"{case.memory_saved:.0%} of its scratch saved"
        )
    for target in flash.validate_targets():
        verdict = "reached" if target.reached else "not reached"
        print(f"{target.name}: {target.measured:.2f}, goal {target.goal:.2f}: {verdict}")
    return output, cases


if __name__ == "__main__":
    main()
