"""Programs of stock libraries for lab hosts: they know nothing of a mesh."""
