"""make demo: the whole product at work, in three minutes."""
