"""The device: a daemon that keeps one good model watching its cameras."""
