"""agentmem: an embedded vector memory store with attention rerank."""
