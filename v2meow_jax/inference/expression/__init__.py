"""How a soundtrack is played as its plan says: loudness, and notes of the key."""
