"""How a running system is, asked of every part at once: what lags, what is sick, what to do."""
