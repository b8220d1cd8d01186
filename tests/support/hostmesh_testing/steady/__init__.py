"""A steady load of many requests a second from several clients: light apps, light load clients."""
