"""Other frameworks' interfaces on a store: one module a framework, which is imported for its own module only."""
