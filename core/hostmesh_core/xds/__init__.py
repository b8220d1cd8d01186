"""xDS protocol state without IO: what to send, what was asked, what was acknowledged."""
