"""From facts to findings, a module a subject: nothing here reads anything."""
