"""The ledger: who counted which ids, what follows from it, and a listener who measures how fresh everything is."""
