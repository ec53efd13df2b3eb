"""What became of one press: everything that is known of a request_id, as one timeline."""
