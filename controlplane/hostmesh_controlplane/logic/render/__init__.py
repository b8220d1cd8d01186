"""Views of the mesh -> Envoy resources. A generator sees only its view (DESIGN 8)."""
