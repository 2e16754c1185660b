"""What models are worth before anybody listens: what they find when it is withheld from them, and what they spread."""
