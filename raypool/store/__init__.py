"""The durable side of raypool: everything that talks to Redis."""
