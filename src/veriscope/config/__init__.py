"""What a run is made of: the schema, and how a composed configuration becomes one."""
