"""What edges tell the app: facts as they came, before any decision."""
