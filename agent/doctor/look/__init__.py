"""How the facts are read, a module a subject: nothing here judges anything."""
