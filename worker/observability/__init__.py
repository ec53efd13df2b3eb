"""What one sees of a worker from outside: logs, metrics and traces."""
