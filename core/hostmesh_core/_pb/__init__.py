"""Generated messages: `make proto` writes them from core/proto, `make check` compares."""
