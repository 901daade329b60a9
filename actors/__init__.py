"""What runs inside Ray: thin shells over plain classes."""
