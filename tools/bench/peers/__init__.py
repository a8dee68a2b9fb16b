"""Our loop beside what people would run instead: same model, same film, same threads, one run."""
