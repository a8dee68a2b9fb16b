"""The device's own page: its server, loaded only where the page or its metrics are switched on."""
