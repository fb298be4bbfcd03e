"""What is fuzzed: each module has ``run(data: bytes)``, which raises where something is wrong with the package."""
