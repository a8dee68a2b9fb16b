"""One module for each thing that is measured; each is a process of its own."""
