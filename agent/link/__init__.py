"""MQTT: topics, messages, session, publisher, commands."""
