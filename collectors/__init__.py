"""What the world knows about anime songs → records of the catalogue topic."""
