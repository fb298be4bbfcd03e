"""What an agent does with a store: remember, recall into a prompt, replace what is no longer so, forget."""

from agentmem.memory.duplicates import Duplicate
from agentmem.memory.helper import Memory
from agentmem.memory.packing import Recall
from agentmem.memory.retention import Removal, Retention

__all__ = ["Duplicate", "Memory", "Recall", "Removal", "Retention"]
