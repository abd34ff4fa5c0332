"""What is said about a song: captions, and prompts of users."""
