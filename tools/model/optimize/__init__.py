"""Graph changes that do not change the answers, each proved."""
