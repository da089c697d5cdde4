"""Support for the behaviour tests: processes, the wire protocol, a scripted PostgreSQL."""
