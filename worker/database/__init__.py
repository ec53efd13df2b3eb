"""The dead-letter database: engine, models, schema and audit log."""
