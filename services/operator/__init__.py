"""What an operator asks of a running system: where is this event, what is wrong here."""
